//! The `bursar` command. Everything is in the library.

fn main() -> std::process::ExitCode {
    bursar::cli::main()
}
