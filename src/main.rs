//! The `bursar` command. Everything is in the library.

/// Buffers of a call come and go between what is kept of its task: this allocator keeps them apart, so that
/// 100,000 tasks at rest take little more than they need. Its options stand in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    bursar::cli::main()
}
