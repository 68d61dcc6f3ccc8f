//! What can be wrong with a configuration, said so that the next attempt succeeds.

use std::path::PathBuf;

use super::Origin;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// No such key.
    #[error("{origin}: unknown key `{key}`{}", .suggestion.as_ref().map_or_else(
        || "; `dinoxide recipes show dino` lists every key".to_owned(),
        |name| format!("; did you mean `{name}`?")))]
    UnknownKey {
        /// Where it was written.
        origin: Origin,
        /// The key as written.
        key: String,
        /// The nearest known key.
        suggestion: Option<String>,
    },
    /// A value of the wrong type or outside its range.
    #[error("{origin}: bad value `{value}` for `{key}`; allowed: {allowed}")]
    BadValue {
        /// Where it was written.
        origin: Origin,
        /// Dotted key.
        key: String,
        /// The value as written.
        value: String,
        /// What would be accepted.
        allowed: String,
    },
    /// Two values that exclude each other.
    #[error("`{key}` = {value} does not go with {other}; {hint}")]
    Conflict {
        /// Dotted key.
        key: String,
        /// Its value.
        value: String,
        /// The other key and its value.
        other: String,
        /// What to do.
        hint: String,
    },
    /// An argument of `--set` without `=`.
    #[error("`--set {text}` has no `=`; write `--set key=value`, for example `--set run.epochs=50`")]
    NoEqualSign {
        /// The argument.
        text: String,
    },
    /// No such recipe.
    #[error("unknown recipe `{name}`{}; known: {known}", .suggestion.as_ref().map_or_else(
        String::new, |name| format!("; did you mean `{name}`?")))]
    UnknownRecipe {
        /// The name as written.
        name: String,
        /// The nearest known name.
        suggestion: Option<String>,
        /// All names.
        known: String,
    },
    /// There is nothing to train on.
    #[error(
        "{found} readable images in {places}, at least {needed} are needed; give a folder, files or a glob as DATA"
    )]
    TooFewImages {
        /// How many were found.
        found: usize,
        /// How many are needed.
        needed: usize,
        /// Where they were looked for.
        places: String,
    },
    /// The configuration cannot be written as TOML.
    #[error("the configuration cannot be written as TOML")]
    Write(#[from] toml::ser::Error),
}
