//! The `dinoxide` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    dinoxide::cli::main()
}
