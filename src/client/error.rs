//! Why a call of the client fails. `Display` is one line: what, where, why, what next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use grpcio::RpcStatusCode;

/// Why a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An option or an argument that no PD could make sense of. Nothing was sent.
    Invalid(String),
    /// No address could be connected to in time. Nothing was sent.
    Unreachable {
        /// All of them, with commas.
        addrs: String,
        waited: Duration,
    },
    /// No answer came in time. Whether a change took effect is unknown.
    TimedOut { addr: String, waited: Duration },
    /// The connection broke, or the PD ended, while the call was under way. Whether a change took effect is unknown, for
    /// gRPC does not tell whether the PD has got the call.
    Lost {
        addr: String,
        /// gRPC's words, or the PD's.
        reason: String,
    },
    /// A part of a call that was not sent, because a part before it failed: `after` is that one's error.
    NotSent { after: Arc<Error> },
    /// The PD refuses the call, with a message of its own.
    Refused { refusal: Refusal, message: String },
    /// The call needs `pdlite.v1`, which this PD does not offer.
    Unsupported {
        addr: String,
        /// What needs it: a method, or a few words.
        call: &'static str,
    },
    /// The answer makes no sense: this is no PD that keeps the protocol.
    Malformed { addr: String, reason: String },
    /// As many callers as the client's options allow wait already. Nothing was sent.
    QueueFull { max: usize },
    /// A PD gave out a timestamp that is not above an earlier one. Every later timestamp of this client is refused with the
    /// same error: some that it has returned may be given out again.
    TimestampWentBack { highest: u64, got: u64 },
    /// The client, or what is embedded in its place, has been stopped.
    Closed,
    /// The PD embedded in this process has failed: its disk, or a panic inside it. Nothing changed, and nothing ever will.
    Failed { reason: String },
}

/// The kind of a PD's refusal, by its gRPC status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// INVALID_ARGUMENT: an id of 0, an empty range, something above a limit. Nothing changed.
    InvalidArgument,
    /// FAILED_PRECONDITION: a stale epoch, or an overlap. Nothing changed.
    FailedPrecondition,
    /// RESOURCE_EXHAUSTED: no space, too many calls wait, a message that is too long, no value left. Nothing changed.
    ResourceExhausted,
    /// UNAVAILABLE, of one region of a batch: the PD is stopping or has failed. Nothing changed.
    Unavailable,
    /// INTERNAL: the PD failed during the call. Whether a change took effect is unknown.
    Internal,
    /// Any other status, by its number.
    Other(i32),
}

impl Error {
    /// Tells whether the same call may succeed later, with nothing changed by the caller. A change whose outcome is unknown
    /// (see [`Error::outcome_unknown`]) may then be made a second time.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Lost { .. }
            | Self::NotSent { .. }
            | Self::QueueFull { .. } => true,
            Self::Refused { refusal, .. } => match refusal {
                Refusal::ResourceExhausted | Refusal::Unavailable | Refusal::Internal => true,
                Refusal::InvalidArgument | Refusal::FailedPrecondition | Refusal::Other(_) => false,
            },
            Self::Invalid(_)
            | Self::Unsupported { .. }
            | Self::Malformed { .. }
            | Self::TimestampWentBack { .. }
            | Self::Closed
            | Self::Failed { .. } => false,
        }
    }

    /// Tells whether a change may have taken effect although the call failed.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::Lost { .. } | Self::Malformed { .. } => true,
            Self::Refused { refusal, .. } => match refusal {
                Refusal::Internal | Refusal::Other(_) => true,
                Refusal::InvalidArgument
                | Refusal::FailedPrecondition
                | Refusal::ResourceExhausted
                | Refusal::Unavailable => false,
            },
            Self::Invalid(_)
            | Self::Unreachable { .. }
            | Self::NotSent { .. }
            | Self::Unsupported { .. }
            | Self::QueueFull { .. }
            | Self::TimestampWentBack { .. }
            | Self::Closed
            | Self::Failed { .. } => false,
        }
    }

    /// What `error` of gRPC means for a call that was sent to `addr` and given up after `waited`.
    pub(super) fn of_call(error: grpcio::Error, addr: &str, waited: Duration) -> Self {
        match error {
            grpcio::Error::RpcFailure(status) | grpcio::Error::RpcFinished(Some(status)) => {
                Self::of_status(status.code(), status.message().to_owned(), addr, waited)
            }
            grpcio::Error::Codec(error) => Self::Malformed { addr: addr.to_owned(), reason: error.to_string() },
            error => Self::Lost { addr: addr.to_owned(), reason: error.to_string() },
        }
    }

    /// What a verdict other than OK means, by its gRPC status code: the answer of a PD that was not lost.
    pub(super) fn of_verdict(code: u32, message: String) -> Self {
        let code = i32::try_from(code).unwrap_or(i32::MAX);
        Self::Refused { refusal: Refusal::of_number(code), message }
    }

    /// What a status other than OK means for a call that was sent to `addr` and given up after `waited`.
    pub(super) fn of_status(code: RpcStatusCode, message: String, addr: &str, waited: Duration) -> Self {
        let addr = addr.to_owned();
        match code {
            RpcStatusCode::DEADLINE_EXCEEDED => Self::TimedOut { addr, waited },
            // gRPC turns away as CANCELLED a call that crosses a stopping server's good-bye.
            RpcStatusCode::UNAVAILABLE | RpcStatusCode::CANCELLED => Self::Lost { addr, reason: message },
            code => Self::Refused { refusal: Refusal::of(code), message },
        }
    }

    /// Whether the PD said that it does not know the call.
    pub(super) fn is_unimplemented(&self) -> bool {
        let unimplemented = Refusal::of(RpcStatusCode::UNIMPLEMENTED);
        matches!(self, Self::Refused { refusal, .. } if *refusal == unimplemented)
    }

    /// What became of a change that was to follow the one that failed with this error.
    pub(super) fn of_rest(self) -> Self {
        match self {
            Self::Unreachable { .. } | Self::NotSent { .. } => self,
            after => Self::NotSent { after: Arc::new(after) },
        }
    }
}

impl Refusal {
    /// By the number of a gRPC status code.
    pub(crate) fn of_number(code: i32) -> Self {
        Self::of(code.into())
    }

    fn of(code: RpcStatusCode) -> Self {
        match code {
            RpcStatusCode::INVALID_ARGUMENT => Self::InvalidArgument,
            RpcStatusCode::FAILED_PRECONDITION => Self::FailedPrecondition,
            RpcStatusCode::RESOURCE_EXHAUSTED => Self::ResourceExhausted,
            RpcStatusCode::UNAVAILABLE => Self::Unavailable,
            RpcStatusCode::INTERNAL => Self::Internal,
            code => Self::Other(code.into()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(what) => f.write_str(what),
            Self::Unreachable { addrs, waited } => {
                write!(f, "no PD can be reached at {addrs} within {waited:.1?}; is it running there?")
            }
            Self::TimedOut { addr, waited } => {
                write!(
                    f,
                    "the PD at {addr} has not answered within {waited:.1?}; if it was to change something, that may have happened"
                )
            }
            Self::Lost { addr, reason } => {
                write!(
                    f,
                    "the PD at {addr} was lost during the call ({reason}); if it was to change something, that may have happened"
                )
            }
            Self::NotSent { after } => write!(f, "not sent, for what came before it failed: {after}"),
            Self::Refused { refusal, message } => write!(f, "{message} ({refusal})"),
            Self::Unsupported { addr, call } => {
                write!(f, "the PD at {addr} does not offer pdlite.v1, which {call} needs")
            }
            Self::Malformed { addr, reason } => {
                write!(f, "the PD at {addr} gave an answer that makes no sense: {reason}")
            }
            Self::QueueFull { max } => write!(f, "{max} callers wait for timestamps already; try again later"),
            Self::TimestampWentBack { highest, got } => write!(
                f,
                "timestamps went back: {highest} was given out, and then {got}; two PDs, or an old workdir? This client \
                 gives out no more of them"
            ),
            Self::Closed => f.write_str("it has been stopped"),
            Self::Failed { reason } => write!(f, "the PD in this process has failed: {reason}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArgument => f.write_str("INVALID_ARGUMENT"),
            Self::FailedPrecondition => f.write_str("FAILED_PRECONDITION"),
            Self::ResourceExhausted => f.write_str("RESOURCE_EXHAUSTED"),
            Self::Unavailable => f.write_str("UNAVAILABLE"),
            Self::Internal => f.write_str("INTERNAL"),
            Self::Other(code) => write!(f, "gRPC status {code}"),
        }
    }
}

impl std::error::Error for Error {}
