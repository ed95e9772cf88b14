//! A placement driver inside the caller's process: [`Server`], which others can connect to, and [`Pd`], the same calls
//! without a network. [`crate::guide`] shows both.
//!
//! Two modules beneath have types of these names, which do less: [`crate::server::Server`] is a bound port in front of a
//! [`crate::service::Pd`], whose requests and answers are messages. What is here puts them together, in the one place where
//! that is done (`assembly`), and takes them down again.
//!
//! Nothing here ends the process, sets a panic hook or installs a signal handler: these are the program's, `main.rs`'s.

mod assembly;
mod calls;
mod error;
mod pd;
mod pd_builder;
mod server;
mod stop;

pub(crate) use self::assembly::{Assembled, Parts, Restored, issued_before};
pub(crate) use self::stop::{STOP_GRACE, aside, drain};

pub use self::error::EmbedError;
pub use self::pd::Pd;
pub use self::pd_builder::PdBuilder;
pub use self::server::{Server, ServerBuilder};
