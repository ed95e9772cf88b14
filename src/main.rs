//! Runs a command line, prints the one error line, and ends the process: nothing else ends it, but a second signal and a
//! panic.

use std::backtrace::Backtrace;
use std::env;
use std::io::{self, Write};
use std::panic;
use std::process;
use std::thread;

fn main() {
    panic::set_hook(Box::new(abort_on_panic));
    let exit = pd_lite::cli::run(env::args_os().skip(1).collect()).unwrap_or_else(|failure| {
        // There is nowhere left to say that stderr is closed.
        let _ = writeln!(io::stderr(), "{}", failure.line());
        failure.exit
    });
    // `_exit`: no destructor of the gRPC core runs while threads that a failure left behind still use it.
    signal_hook::low_level::exit(exit.code());
}

/// A panic is a bug, and state that a bug has touched must not be served or written: one line and the way that led there, then
/// the end. Recovery reads only what is durable.
fn abort_on_panic(info: &panic::PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("no message").replace('\n', " ");
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "error: bug in pd-lite: thread {name} panicked at {place}: {message}");
    let _ = writeln!(stderr, "{}", Backtrace::force_capture());
    process::abort();
}
