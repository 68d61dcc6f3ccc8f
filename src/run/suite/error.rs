//! What can be wrong with a suite of evaluations.

use std::path::PathBuf;

/// A suite that cannot be run, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuiteError {
    /// The file is not TOML, or says what nobody understands.
    #[error("`{}` is no suite: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is nothing to do.
    #[error("`{}` names no evaluation; begin one with `[[eval]]` and `protocol = \"knn\"`", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
    },
    /// No such protocol.
    #[error("evaluation `{name}`: there is no protocol `{protocol}`; there are {}", known.join(", "))]
    NoProtocol {
        /// Name of the evaluation.
        name: String,
        /// What was written.
        protocol: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// No such option.
    #[error("evaluation `{name}`: `{protocol}` has no option `{key}`{}", hint(suggestion.as_deref(), known))]
    NoOption {
        /// Name of the evaluation.
        name: String,
        /// Its protocol.
        protocol: String,
        /// What was written.
        key: String,
        /// The nearest option.
        suggestion: Option<String>,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A value of a kind that an option does not take.
    #[error("evaluation `{name}`: `{key}` cannot be {value}; {expected}")]
    Value {
        /// Name of the evaluation.
        name: String,
        /// The option.
        key: String,
        /// What was written.
        value: String,
        /// What would be understood.
        expected: &'static str,
    },
    /// Two evaluations of one name would write to one folder.
    #[error("two evaluations are named `{name}`; give one of them another `name`")]
    TwoOfAName {
        /// The name.
        name: String,
    },
    /// The name is none of a folder.
    #[error("`{name}` cannot be the name of a folder; write letters, digits, `-`, `_` and `.`")]
    Name {
        /// The name.
        name: String,
    },
    /// The command line of an evaluation is not understood.
    #[error("evaluation `{name}`: {problem}")]
    Refused {
        /// Name of the evaluation.
        name: String,
        /// What the command says.
        problem: String,
    },
    /// The program cannot be started once more.
    #[error("cannot start `{}` for an evaluation", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Some evaluations failed.
    #[error("{failed} of {all} evaluations failed: {}; the rest is in `{}`, and the same command tries again what failed", names.join(", "), out.display())]
    SomeFailed {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
        /// Model and evaluation of each.
        names: Vec<String>,
        /// Where the results are.
        out: PathBuf,
    },
}

fn hint(suggestion: Option<&str>, known: &[String]) -> String {
    suggestion.map_or_else(|| format!("; it has {}", known.join(", ")), |name| format!("; did you mean `{name}`?"))
}
