//! `hafen`: the platform (`serve`) and its command line, in one binary.

mod about;
mod bastion;
mod changes;
mod cli;
mod console;
mod descriptors;
mod edge;
mod gate;
mod home;
mod output;
mod problems;
mod reach;
mod serve;
mod services;
mod sign_in;

use std::process::ExitCode;

use clap::Parser as _;

/// Gives memory back that the C library would keep: an apply of a thousand machines leaves nothing behind in its arenas,
/// of which each of SQLite's threads has one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3, which the crate has no name for.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Unused pages go back at once. By default they go a second later and only when the same thread frees again, which one that
/// rests does not: half of what an idle platform held was unused.
#[expect(unsafe_code, reason = "the allocator's options have no safe interface; this one takes any number")]
fn give_back_at_once() {
    // SAFETY: sets a number that the allocator reads, before there is a second thread.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) }
}

fn main() -> ExitCode {
    give_back_at_once();
    let arguments = cli::Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("HAFEN_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .init();
    // Before there is any thread: a namespace is entered by the whole process.
    if let Some(folder) = arguments.holder() {
        return match hafen_machines::engine::qemu::carry_network(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::error(&error);
                ExitCode::from(1)
            }
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime does not start: {error}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(cli::run(arguments));
    // Tasks that still read a terminal or a socket must not hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::error(&error);
            ExitCode::from(if error.code() == cli::USAGE { 2 } else { 1 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PURGE_DELAY;

    /// The number is the allocator's, and may be another's in its next version.
    #[test]
    #[expect(unsafe_code, reason = "as above")]
    fn the_option_is_the_delay() {
        // SAFETY: reads a number.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, 1000);
    }
}
