//! The kubectl plugin: everything is in the library's `cli`.

fn main() -> std::process::ExitCode {
    testkit::cli::main(std::env::args_os())
}
