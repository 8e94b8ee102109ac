//! The lease file: none, files that are none, and the agent's end of it.

use super::*;

#[tokio::test]
async fn without_a_configured_lease_file_every_write_is_refused_loudly() {
    let server = Server::launch(Build::Real, "regent.lease_file = ''");
    let client = server.connect().await;
    assert_refused(sql(&client, "CREATE TABLE t (v int)").await, "no lease file");
    assert!(server.log().contains("WARNING:  regent gate: regent.lease_file is empty"));
    assert!(server.log().contains("DETAIL:  The setting regent.lease_file is empty"));
}

#[tokio::test]
async fn a_lease_file_may_come_late_or_be_replaced() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 20ms").await;
    let path = server.lease_path();
    // Made now, this backend has no file mapped but the one it finds.
    fs::remove_file(&path).unwrap();
    let client = server.connect().await;
    assert_refused(sql(&client, INSERT).await, "no file");

    for (what, bytes) in [("a short file", &[0xff; 100][..]), ("a wrong magic", &[0xff; 4096][..])] {
        fs::write(&path, bytes).unwrap();
        assert_refused(sql(&client, INSERT).await, what);
        assert!(matches!(LeaseFile::open(&path, 1), Err(GateError::NotALeaseFile { .. })));
    }
    fs::remove_file(&path).unwrap();

    // A right file in a wrong place: it would survive a boot, and its deadline with it.
    let on_disk =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lease-on-disk-{}", std::process::id()));
    let lease = LeaseFile::open(&on_disk, 1).unwrap();
    if !lease.is_tmpfs() {
        lease.open_until(1, until(LONG));
        let seen = tempfile::NamedTempFile::new_in(server.dir.path()).unwrap();
        fs::copy(&on_disk, seen.path()).unwrap();
        fs::set_permissions(seen.path(), PermissionsExt::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(seen.path(), &path).unwrap();
        assert_refused(sql(&client, INSERT).await, "not on tmpfs");
        fs::remove_file(&path).unwrap();
        // The same bytes in the right place are a lease.
        fs::copy(&on_disk, &path).unwrap();
        sql(&client, INSERT).await.unwrap();
        fs::remove_file(&path).unwrap();
    }
    fs::remove_file(&on_disk).unwrap();

    let lease = server.lease();
    assert!(lease.was_created() && lease.is_tmpfs());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    let client = server.connect().await;
    assert_refused(sql(&client, INSERT).await, "a new file is closed");
    lease.open_until(1, until(LONG));
    sql(&client, INSERT).await.unwrap();
    // Another file in its place is found when the mapped one has no lease any more.
    lease.close();
    fs::rename(&path, path.with_extension("old")).unwrap();
    server.lease().open_until(1, until(LONG));
    sql(&client, INSERT).await.unwrap();
}

#[tokio::test]
async fn single_user_mode_needs_no_lease() {
    let mut server = Server::start().await;
    server.signal(Signal::SIGINT);
    server.child.wait().unwrap();
    let mut child = as_server_user(pg_bin("postgres"))
        .args(["--single", "-D"])
        .arg(server.dir.path().join("data"))
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let script = b"INSERT INTO t VALUES (1)\nSELECT 'rows=' || count(*) FROM t\n";
    child.stdin.take().unwrap().write_all(script).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("rows=1"), "{output:?}");
}

// ---------- the agent's end ----------

#[test]
fn a_lease_file_has_one_writer_and_keeps_what_it_says() {
    let dir = server_dir(Path::new("/dev/shm"));
    let path = dir.path().join("lease");
    let first = LeaseFile::open(&path, 1).unwrap();
    assert!(!first.read().is_open_at(0));
    assert!(matches!(LeaseFile::open(&path, 2), Err(GateError::Held { .. })));
    first.open_until(5, 1000);
    assert_eq!(first.read().rpo_ns, NO_RPO);
    first.set_rpo(Some(Duration::from_nanos(900)));
    let inode = fs::metadata(&path).unwrap().ino();
    drop(first);

    let second = LeaseFile::open(&path, 2).unwrap();
    let lease = second.read();
    assert!(!second.was_created());
    assert_eq!((lease.epoch, lease.deadline_ns, lease.rpo_ns, lease.opened_by), (5, 1000, 900, 1));
    assert!(lease.is_open_at(999) && !lease.is_open_at(1000));
    second.open_until(6, 2000);
    assert_eq!(second.read().opened_by, 2);
    second.close();
    assert!(!second.read().is_open_at(0));
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
}

const HOLDER_LEASE: &str = "REGENT_TEST_HOLDER_LEASE";

/// Not a test: the process that the next test kills. It renews a short lease for as long as it lives.
#[test]
#[ignore = "the child process of a_killed_agent_leaves_a_gate_that_closes_on_time"]
fn holder_of_a_lease() {
    let Some(path) = std::env::var_os(HOLDER_LEASE) else { return };
    let lease = LeaseFile::open(Path::new(&path), 8).unwrap();
    loop {
        lease.open_until(2, until(Duration::from_millis(250)));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_killed_agent_leaves_a_gate_that_closes_on_time() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 0").await;
    let client = server.connect().await;
    let mut holder = Command::new(std::env::current_exe().unwrap());
    holder
        .args(["--exact", "lease_file::holder_of_a_lease", "--ignored"])
        .env(HOLDER_LEASE, server.lease_path());
    ends_with_its_test(&mut holder, Signal::SIGKILL);
    let mut holder = holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the holder opens the gate", async || sql(&client, INSERT).await.is_ok()).await;
    holder.kill().unwrap();
    holder.wait().unwrap();

    // The kernel has released the dead holder's lock: the deadline can be read, and nobody moves it any more.
    let deadline = server.lease().read().deadline_ns;
    let mut refused = 0;
    while refused < 20 {
        let invoked = boottime_ns();
        let result = sql(&client, INSERT).await;
        if invoked >= deadline {
            assert_refused(result, "after the dead agent's deadline");
            refused += 1;
        }
    }
}
