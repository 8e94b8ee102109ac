//! Why a text is no scenario: where it stands, what was expected, what was there.

use super::Class;

/// A value that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got `{got}`")]
pub struct Wrong {
    expected: String,
    got: String,
}

impl Wrong {
    pub(super) fn new(expected: impl Into<String>, got: impl Into<String>) -> Wrong {
        Wrong { expected: expected.into(), got: got.into() }
    }
}

/// Why a file of scenarios is none.
#[derive(Debug, thiserror::Error)]
pub enum NoScenarios {
    /// It is not TOML, or has other keys.
    #[error("scenarios of class {class}: {source}")]
    Text {
        /// Which file.
        class: Class,
        /// With line and column.
        source: toml::de::Error,
    },
    /// A value of a scenario.
    #[error("scenario {name}, {key}: {wrong}")]
    Value {
        /// Which scenario.
        name: String,
        /// Which key, with the number of the fault if it is one's.
        key: String,
        /// Why not.
        wrong: Wrong,
    },
}
