//! Wire types to core types and back. Nothing else may know both.
