//! What a person sees: stages that tell how they go, figures in columns, and colour only on a terminal.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stdout};
use std::time::Instant;

/// Whether escape sequences mean anything to whoever reads our output.
fn is_terminal() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn painted(code: &str, text: impl Display) -> String {
    if is_terminal() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

/// For headings and figures that matter.
pub fn bold(text: impl Display) -> String {
    painted("1", text)
}

/// For what stands beside the point.
pub fn dim(text: impl Display) -> String {
    painted("2", text)
}

/// Green if `good`, else red.
pub fn verdict(good: bool, text: impl Display) -> String {
    painted(if good { "32" } else { "1;31" }, text)
}

/// Something that takes a while. A line on the terminal that changes; in a file, one line when it is over.
pub struct Stage {
    what: String,
    start: Instant,
    told: String,
}

impl Stage {
    /// Begins a stage.
    pub fn begin(what: impl Into<String>) -> Stage {
        let stage = Stage { what: what.into(), start: Instant::now(), told: String::new() };
        stage.draw("");
        stage
    }

    /// Says how it goes.
    pub fn tell(&mut self, how: impl Display) {
        let how = how.to_string();
        if how != self.told {
            self.draw(&how);
            self.told = how;
        }
    }

    /// Ends it well.
    pub fn done(self, result: impl Display) {
        let seconds = format!("{:6.1} s", self.start.elapsed().as_secs_f64());
        let mark = verdict(true, "done");
        println!("{}  {mark}  {}  {:<34} {}", self.clear(), dim(seconds), self.what, dim(result));
    }

    fn draw(&self, how: &str) {
        if is_terminal() {
            print!("{}  ....            {:<34} {}", self.clear(), self.what, dim(how));
            let _ = stdout().flush();
        }
    }

    fn clear(&self) -> &'static str {
        if is_terminal() { "\r\x1b[K" } else { "" }
    }
}
