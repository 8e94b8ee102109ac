//! Where answers and errors go, and in which format.

use super::exit::{Exit, exit_for};
use super::words::clean;
use crate::error::Error;
use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, BufRead, IsTerminal, Write};

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs; `watch` prints one object a line.
    Json,
    /// For both; `watch` prints one document an event.
    Yaml,
}

/// What the terminal can do.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Its columns; none when the output is no terminal, and nothing is shortened then.
    pub width: Option<usize>,
    /// Whether colours are wanted.
    pub colour: bool,
    /// Whether there is somebody to ask.
    pub interactive: bool,
}

impl Terminal {
    /// Looks at this process's own: colour only on a terminal, and not when NO_COLOR is set.
    pub fn detect() -> Terminal {
        let shown = io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Terminal {
            width: width.filter(|_| shown),
            colour: shown && !plain,
            interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
        }
    }
}

/// One run of the command.
pub struct Session<'a> {
    /// Where answers go.
    pub out: &'a mut dyn Write,
    /// Where errors and questions go.
    pub err: &'a mut dyn Write,
    /// Where answers to questions come from.
    pub input: &'a mut dyn BufRead,
    /// What the terminal can do.
    pub terminal: Terminal,
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The call failed.
    #[error("{0}")]
    Call(#[from] Error),
    /// The input makes no sense, or a question was left without an answer.
    #[error("{0}")]
    Usage(String),
    /// It cannot be done as things stand.
    #[error("{0}")]
    Refused(String),
    /// The output cannot be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

impl Session<'_> {
    /// Prints an answer: `table` makes what people read of it.
    pub(super) fn answer<T: Serialize>(
        &mut self,
        format: Format,
        view: &T,
        table: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let unwritable = |error: String| Failure::Output(io::Error::other(error));
        let text = match format {
            Format::Table => table(),
            Format::Json => serde_json::to_string_pretty(view).map_err(|e| unwritable(e.to_string()))? + "\n",
            Format::Yaml => serde_norway::to_string(view).map_err(|e| unwritable(e.to_string()))?,
        };
        self.write(&text)
    }

    /// Prints one of a stream of answers.
    pub(super) fn event<T: Serialize>(
        &mut self,
        format: Format,
        view: &T,
        line: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match format {
            Format::Table => self.write(&(line() + "\n")),
            Format::Yaml => {
                self.write("---\n")?;
                self.answer(format, view, String::new)
            }
            Format::Json => {
                let text = serde_json::to_string(view).map_err(|e| Failure::Output(io::Error::other(e)))?;
                self.write(&(text + "\n"))
            }
        }
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Asks on the terminal.
    pub(super) fn confirmed(&mut self, question: &str) -> Result<bool, Failure> {
        write!(self.err, "{question} [y/N] ")?;
        self.err.flush()?;
        let mut answer = String::new();
        self.input.read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// A remark that is no part of the answer.
    pub(super) fn remark(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.err, "{text}")?)
    }

    /// Prints an error in one line; the exit code says its kind.
    pub(super) fn failed(&mut self, failure: &Failure) -> Exit {
        let exit = match failure {
            // Nobody reads any more, as in `regent status | head -1`: there is nothing wrong with that.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Exit::Ok,
            Failure::Output(_) => Exit::Unwell,
            Failure::Usage(_) => Exit::Usage,
            Failure::Refused(_) => Exit::Refused,
            Failure::Call(error) => exit_for(error),
        };
        let hint = match failure {
            Failure::Call(Error::NoEndpoint) => "; use --endpoints or set REGENT_ENDPOINTS",
            Failure::Call(Error::Unavailable { .. }) => "; check --endpoints, and that regentd runs there",
            Failure::Call(Error::InTransition { .. }) => "; ask again, or give it more time with --timeout",
            _ => "",
        };
        // If the error cannot be told, the exit code still says it.
        let _ = writeln!(self.err, "regent: {}{hint}", clean(&failure.to_string()));
        exit
    }

    /// What the parser has to say: help and version are answers, all else is an error.
    pub(super) fn usage(&mut self, error: &clap::Error) -> Exit {
        let styled = error.render();
        let text = if self.terminal.colour { styled.ansi().to_string() } else { styled.to_string() };
        let (to, exit): (&mut dyn Write, Exit) =
            if error.use_stderr() { (self.err, Exit::Usage) } else { (self.out, Exit::Ok) };
        let _ = write!(to, "{text}"); // as above
        exit
    }
}
