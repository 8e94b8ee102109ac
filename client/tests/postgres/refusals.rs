//! What is refused, and in what words.

use std::net::TcpListener;

use regent_client::postgres::*;

use super::fixture::*;

fn refusal(settings: Settings) -> String {
    Server::new(settings).unwrap_err().to_string()
}

#[test]
fn missing_programs_are_named_with_where_they_were_looked_for() {
    let bench = Bench::new();
    let mut settings = bench.settings("a");
    let bin = bench.path("bin");
    std::fs::create_dir(&bin).unwrap();
    settings.bin_dir = Some(bin.clone());
    let error = refusal(settings.clone());
    assert!(error.contains("looked for postgres in") && error.contains(bin.to_str().unwrap()), "{error}");
    fake_program(&bin.join("postgres"), "postgres (PostgreSQL) 15.3");
    let error = refusal(settings);
    assert!(error.contains("looked for initdb in") && error.contains("bin_dir"), "{error}");
}

#[test]
fn a_version_that_is_too_old_is_refused() {
    let bench = Bench::new();
    let mut settings = bench.settings("a");
    settings.bin_dir = Some(bench.path("bin"));
    std::fs::create_dir(bench.path("bin")).unwrap();
    for program in
        ["postgres", "initdb", "pg_basebackup", "pg_rewind", "pg_waldump", "pg_controldata", "psql"]
    {
        fake_program(&bench.path("bin").join(program), "postgres (PostgreSQL) 12.3");
    }
    let error = refusal(settings);
    assert!(error.contains("postgres (PostgreSQL) 12.3") && error.contains("PostgreSQL 13"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let bench = Bench::new();
    let server = bench.server("a");
    server.initialise().await.unwrap();
    let port = server.settings().port;
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let error = server.start(&Role::Primary).await.unwrap_err();
    assert!(matches!(error, PostgresError::PortInUse { .. }), "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1 port {port} is in use")), "{error}");
    drop(taken);
    server.start(&Role::Primary).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_while_starting_says_why() {
    let bench = Bench::new();
    let mut settings = bench.settings("a");
    settings.parameters.insert("no_such_parameter".into(), "1".into());
    let server = Server::new(settings).unwrap();
    server.initialise().await.unwrap();
    let error = server.start(&Role::Primary).await.unwrap_err().to_string();
    assert!(error.contains("no_such_parameter") && error.contains("exit status: 1"), "{error}");
    assert_eq!(server.observe().await.pid, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_are_told_apart_and_never_overwritten() {
    let bench = Bench::new();
    let server = bench.server("a");
    std::fs::create_dir(bench.path("a")).unwrap();
    assert_eq!(server.directory().await.unwrap(), Directory::Empty);
    std::fs::write(bench.path("a").join("thesis.txt"), "all my work").unwrap();
    assert!(matches!(server.directory().await.unwrap(), Directory::Foreign { .. }));
    assert!(matches!(server.initialise().await, Err(PostgresError::NotEmpty(_))));
    let error = server.start(&Role::Primary).await.unwrap_err().to_string();
    assert!(error.contains("PG_VERSION"), "{error}");
    assert!(matches!(server.stop(Mode::Fast, PATIENCE).await, Ok(Stopped::WasNotRunning)));
    assert!(matches!(server.promote().await, Err(PostgresError::NotRunning(_))));
    assert_eq!(std::fs::read_to_string(bench.path("a").join("thesis.txt")).unwrap(), "all my work");

    std::fs::write(bench.path("a").join("PG_VERSION"), "9\n").unwrap();
    let error = server.directory().await.unwrap_err().to_string();
    assert!(error.contains("PostgreSQL 9"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_initialisation_leaves_nothing() {
    let bench = Bench::new();
    let mut settings = bench.settings("a");
    settings.locale = "tlh_KX.UTF-8".into();
    let server = Server::new(settings).unwrap();
    let error = server.initialise().await.unwrap_err().to_string();
    assert!(error.contains("initdb") && error.contains("tlh_KX"), "{error}");
    assert_eq!(server.directory().await.unwrap(), Directory::Missing);
    assert!(!bench.path("a.unfinished").exists());
}
