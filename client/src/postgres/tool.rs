//! Running one of Postgres's programs to its end.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::program::Running;
use crate::work;

use super::error::PostgresError;
use super::settings::RunAs;

/// How much of what a program says is kept for an error.
const KEPT: usize = 4000;

/// A program about to run. It is killed, with all that it has started, when the future that runs it is dropped.
pub(super) struct Tool {
    name: String,
    command: Command,
    input: Option<String>,
    timeout: Option<Duration>,
}

/// What a program that succeeded said.
pub(super) struct Said {
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Tool {
    pub(super) fn new(program: &Path, run_as: Option<RunAs>) -> Self {
        let mut command = Command::new(program);
        // The agent's own environment must not choose another server, and its language not the texts read here.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C");
        Tool::with(command, run_as)
    }

    /// A program of the operator's, looked for in the PATH: its environment is the agent's, but for whom it runs as.
    pub(super) fn of_the_operator(program: &str, run_as: Option<RunAs>) -> Self {
        let mut command = Command::new(program);
        let user = run_as.and_then(|run_as| User::from_uid(Uid::from_raw(run_as.uid)).ok().flatten());
        if let Some(user) = user {
            command.env("HOME", user.dir).env("USER", &user.name).env("LOGNAME", &user.name);
        }
        Tool::with(command, run_as)
    }

    fn with(mut command: Command, run_as: Option<RunAs>) -> Self {
        command.current_dir("/");
        if let Some(RunAs { uid, gid }) = run_as {
            command.uid(uid).gid(gid);
        }
        // An agent that is killed takes them with it: left alone, they would go on writing by path into the directory that
        // its successor has put in the place of theirs.
        // SAFETY: prctl is async-signal-safe, and nothing else is done between fork and exec.
        unsafe {
            command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
        }
        let program = Path::new(command.as_std().get_program());
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Tool { name, command, input: None, timeout: None }
    }

    pub(super) fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(super) fn args(mut self, args: impl IntoIterator<Item = &'static str>) -> Self {
        self.command.args(args);
        self
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(super) fn input(mut self, input: String) -> Self {
        self.input = Some(input);
        self
    }

    pub(super) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs it; a status other than 0 is an error with the end of what it said.
    pub(super) async fn run(self) -> Result<Said, PostgresError> {
        self.run_with_progress(&mut |_| ()).await
    }

    /// As `run`, with each line of its standard error (also those that overwrite each other) as it comes.
    pub(super) async fn run_with_progress(
        mut self,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Said, PostgresError> {
        self.command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut running = self.start()?;
        let stdin = running.child.stdin.take();
        let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
        let input = self.input.take();
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program that ends early closes the pipe: its status says why.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let mut unheard = |_: &str| ();
        let hear = async {
            let (_, stdout, stderr) =
                tokio::join!(feed, read_lines(stdout, &mut unheard), read_lines(stderr, progress));
            io::Result::Ok(Said { stdout: stdout?, stderr: stderr? })
        };
        let (status, said) = self.ends(running, hear).await?;
        if status.success() {
            return Ok(said);
        }
        let output = tail(if said.stderr.trim().is_empty() { &said.stdout } else { &said.stderr });
        Err(PostgresError::Tool { program: self.name, status: status.to_string(), output })
    }

    /// Runs it and hands on each line of its standard output as it comes, keeping none: for programs that say much. How it
    /// ended is for the caller to judge: the end of what it complained of, if it did not succeed.
    pub(super) async fn each_line(
        mut self,
        each: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Option<String>, PostgresError> {
        self.command.stdin(Stdio::null());
        let mut running = self.start()?;
        let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
        let mut unheard = |_: &str| ();
        let hear = async {
            let mut lines = tokio::io::BufReader::new(stdout.ok_or(io::ErrorKind::BrokenPipe)?).lines();
            let hear = async {
                while let Some(line) = lines.next_line().await? {
                    each(&line);
                }
                io::Result::Ok(())
            };
            let (heard, complained) = tokio::join!(hear, read_lines(stderr, &mut unheard));
            heard.and(complained)
        };
        let (status, complained) = self.ends(running, hear).await?;
        Ok((!status.success()).then_some(tail(&complained)))
    }

    /// Runs it and hands on each line of what it says. If it does not succeed, its last complaint is the error, or
    /// the last that it said.
    pub(super) async fn run_aloud(
        mut self,
        each: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), PostgresError> {
        self.command.stdin(Stdio::null());
        let mut running = self.start()?;
        let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
        let each = Mutex::new(each);
        let hear = |line: &str, last: &mut String| {
            (each.lock().unwrap_or_else(PoisonError::into_inner))(line);
            line.clone_into(last);
        };
        let (mut said, mut complained) = (String::new(), String::new());
        let mut out = |line: &str| hear(line, &mut said);
        let mut err = |line: &str| hear(line, &mut complained);
        let listen = async {
            let (out, err) = tokio::join!(lines_of(stdout, &mut out), lines_of(stderr, &mut err));
            out.and(err)
        };
        let (status, ()) = self.ends(running, listen).await?;
        if status.success() {
            return Ok(());
        }
        let output = if complained.is_empty() { said } else { complained };
        Err(PostgresError::Tool { program: self.name, status: status.to_string(), output })
    }

    fn start(&mut self) -> Result<Running, PostgresError> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::start(&mut self.command).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> PostgresError {
        PostgresError::Spawn { program: self.command.as_std().get_program().into(), source }
    }

    /// Hears it out until it has ended, or its time is over and nothing of it is left.
    async fn ends<T>(
        &self,
        mut running: Running,
        hear: impl Future<Output = io::Result<T>>,
    ) -> Result<(ExitStatus, T), PostgresError> {
        let signs = running.signs(self.timeout.is_some());
        let ended = async {
            // What it has left running ends with it, and closes what is listened to.
            let heard = async {
                let (status, heard) = tokio::join!(running.wait_for_all(), hear);
                io::Result::Ok((status?, heard?))
            };
            tokio::select! {
                heard = heard => heard,
                never = signs => match never {},
            }
        };
        let Some(limit) = self.timeout else { return ended.await.map_err(|source| self.failed(source)) };
        match tokio::time::timeout(limit, ended).await {
            Ok(ended) => ended.map_err(|source| self.failed(source)),
            Err(_) => {
                running.end().await;
                Err(PostgresError::ToolTimeout { program: self.name.clone(), seconds: limit.as_secs() })
            }
        }
    }
}

/// Reads to the end, keeping nothing.
async fn lines_of<R: AsyncRead + Unpin>(
    source: Option<R>,
    each: &mut (dyn FnMut(&str) + Send),
) -> io::Result<()> {
    let Some(source) = source else { return Ok(()) };
    let mut bytes = tokio::io::BufReader::new(source).split(b'\n');
    while let Some(line) = bytes.next_segment().await? {
        let line = String::from_utf8_lossy(&line);
        // Of progress that overwrites itself, the newest.
        if let Some(line) = line.split('\r').map(str::trim).rfind(|line| !line.is_empty()) {
            work::goes_on();
            each(line);
        }
    }
    Ok(())
}

/// Reads to the end; a line ends with a newline or, in progress reports, a carriage return.
async fn read_lines<R: AsyncRead + Unpin>(
    source: Option<R>,
    each: &mut (dyn FnMut(&str) + Send),
) -> io::Result<String> {
    let Some(mut source) = source else { return Ok(String::new()) };
    let (mut all, mut line, mut buffer) = (String::new(), Vec::new(), [0u8; 4096]);
    loop {
        let count = source.read(&mut buffer).await?;
        for &byte in &buffer[..count] {
            if byte != b'\n' && byte != b'\r' {
                line.push(byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            if !text.trim().is_empty() {
                work::goes_on();
                each(text.trim());
            }
            // Overwritten progress is not worth keeping for hours.
            if byte == b'\n' {
                all.push_str(&text);
                all.push('\n');
            }
            line.clear();
        }
        if count == 0 {
            all.push_str(&String::from_utf8_lossy(&line));
            return Ok(all);
        }
    }
}

/// The end of a text, at most `KEPT` bytes, whole characters.
pub(super) fn tail(text: &str) -> String {
    let text = text.trim();
    let start = (text.len().saturating_sub(KEPT)..=text.len())
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(text.len());
    text[start..].to_owned()
}
