//! How an operator steers what an agent does to its Postgres: whether it may be promoted, and what follows when it cannot be
//! rewound. Each changes the agent's configuration as an operator would, and puts it back.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use regent_chaos::cluster::topology::instance;

use super::stage::{HOME, Lost, Stage, play};

#[test]
fn an_heir_whose_hook_says_no_is_passed_over() {
    play(async |stage| {
        let run = stage.cluster.run_dir().path().to_owned();
        let mut before = Vec::new();
        for region in [1, 2] {
            let hooks = format!(
                "\n[hooks]\nbefore_promote = \"test ! -e {run}/veto-$REGENT_INSTANCE\"\nafter_role_change = \
                 \"echo $REGENT_ROLE $REGENT_EPOCH > {dir}/role\"\n",
                run = run.display(),
                dir = stage.cluster.run_dir().region(region).display()
            );
            before.push((region, stage.reconfigure(region, |text| text.to_owned() + &hooks)?));
        }
        let heir = stage.whole().await?.heir.context("a whole group has an heir")?;
        let veto = run.join(format!("veto-{}", instance(heir)));
        fs::write(&veto, "")?;

        let writing = stage.start_writing().await?;
        let Lost { at_ns, first, .. } = stage.lose_home().await?;
        ensure!(first.instance != heir, "{} took over though its hook said no", instance(heir));
        let told = stage.cluster.run_dir().region(first.instance).join("role");
        stage
            .seen("the new primary's hook is told", || {
                fs::read_to_string(&told).ok().filter(|text| text.starts_with("primary "))
            })
            .await?;
        let asked = stage.events(at_ns).into_iter().any(|event| {
            event.event == "released" && event.proc == format!("regent-agent-{}", instance(heir))
        });
        ensure!(asked, "{} was never asked, or did not give its office up", instance(heir));

        fs::remove_file(&veto)?;
        stage.cluster.restore_region(HOME)?;
        stage.judge(writing).await?;
        for (region, text) in before {
            stage.reconfigure(region, |_| text)?;
        }
        stage.whole().await.map(drop)
    });
}

#[test]
fn a_rewind_that_fails_halts_or_is_followed_by_a_clone_as_configured() {
    play(async |stage| {
        let writing = stage.start_writing().await?;
        let lost = stage.lose_home().await?;

        let bin = without_rewind(stage)?;
        let there = stage.cluster.postgres_bin().display().to_string();
        let key = format!("bin_dir = \"{there}\"\n");
        let halting = format!("bin_dir = \"{}\"\non_rewind_failure = \"halt\"\n", bin.display());
        let before = stage.reconfigure(HOME, |text| text.replace(&key, &halting))?;
        ensure!(before.contains(&key), "the agent's configuration has no {key}");
        stage.cluster.restore_region(HOME)?;
        let words = "halted, as on_rewind_failure says";
        let halted = |troubles: &[(usize, String)]| {
            troubles.iter().any(|(region, trouble)| *region == HOME && trouble.contains(words))
        };
        stage.until("it halts and says why", |view| halted(&view.troubles)).await?;
        let earlier = replaced(stage)?;
        stage.reconfigure(HOME, |_| before.replace(&key, &format!("bin_dir = \"{}\"\n", bin.display())))?;
        stage.judge(writing).await?;
        ensure!(replaced(stage)? == earlier + 1, "what could not be rewound was not moved aside");
        stage.left_behind(lost.timeline).await?;
        stage.reconfigure(HOME, |_| before)?;
        stage.whole().await.map(drop)
    });
}

/// How many data directories were moved aside at home.
fn replaced(stage: &Stage) -> anyhow::Result<usize> {
    let names = fs::read_dir(stage.cluster.run_dir().region(HOME))?.flatten().map(|entry| entry.file_name());
    Ok(names.filter(|name| name.to_string_lossy().starts_with("postgres.replaced-")).count())
}

/// A directory with all of Postgres's programs, but a `pg_rewind` that fails.
fn without_rewind(stage: &Stage) -> anyhow::Result<PathBuf> {
    let bin = stage.cluster.run_dir().path().join("bin-without-rewind");
    fs::create_dir(&bin)?;
    for program in fs::read_dir(stage.cluster.postgres_bin())?.flatten() {
        if program.file_name() != "pg_rewind" {
            symlink(program.path(), bin.join(program.file_name()))?;
        }
    }
    let rewind = bin.join("pg_rewind");
    fs::write(&rewind, "#!/bin/sh\necho 'pg_rewind: error: could not' >&2\nexit 1\n")?;
    fs::set_permissions(&rewind, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o755))?;
    Ok(bin)
}
