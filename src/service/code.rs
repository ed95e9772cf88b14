//! What kind of failure an error is, by the numbers of gRPC's status codes: the one table. A call's status has them, and so
//! has a region's verdict in a batch.

use super::Error;

/// The kind of a failure. `Into<i32>` and `Into<u32>` give gRPC's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidArgument,
    ResourceExhausted,
    FailedPrecondition,
    Internal,
    Unavailable,
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::StoreIdZero
            | Self::RegionAbsent
            | Self::RegionIdZero
            | Self::KeyTooLong { .. }
            | Self::TooManyPeers { .. }
            | Self::EmptyRange { .. }
            | Self::EmptyScan { .. }
            | Self::TooManyRegions { .. }
            | Self::CountTooLarge { .. } => Code::InvalidArgument,
            Self::Stale { .. } | Self::Overlap { .. } => Code::FailedPrecondition,
            Self::Exhausted { .. } | Self::NoSpace | Self::Overloaded => Code::ResourceExhausted,
            Self::OutcomeUnknown => Code::Internal,
            Self::NotReady | Self::Stopped | Self::Broken => Code::Unavailable,
        }
    }
}

impl Code {
    fn number(self) -> u8 {
        match self {
            Self::InvalidArgument => 3,
            Self::ResourceExhausted => 8,
            Self::FailedPrecondition => 9,
            Self::Internal => 13,
            Self::Unavailable => 14,
        }
    }
}

impl From<Code> for i32 {
    fn from(code: Code) -> Self {
        code.number().into()
    }
}

impl From<Code> for u32 {
    fn from(code: Code) -> Self {
        code.number().into()
    }
}
