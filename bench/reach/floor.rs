//! The floor as a process of its own, so that its CPU time can be told: this program once more, with one method that answers
//! every call alike.

use std::io::{Read, stdin};
use std::process::{Command, Stdio};

use pd_lite::proto::{pd, pd_methods, pdlite_methods};

use crate::support::in_process::BareHandler;
use crate::support::process::{LISTENING, PdProcess};
use crate::support::{Result, regions};

/// What a floor's process is started with; a name of a call follows.
pub const FLAG: &str = "floor";

/// The region of every lookup: its ids are as long as those of most regions of a catalog of a million.
const REGION: u64 = 700_000;

/// What a floor answers.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    Tso,
    StreamedTso,
    GetRegionByKey,
    RegionHeartbeat,
}

impl Call {
    const ALL: [Self; 4] = [Self::Tso, Self::StreamedTso, Self::GetRegionByKey, Self::RegionHeartbeat];

    /// Starts a floor that ends with this process.
    pub fn start(self) -> Result<PdProcess> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([format!("--{FLAG}"), format!("{self:?}")]).stdin(Stdio::piped());
        PdProcess::of_command(command)
    }

    fn serve(self) -> Result<BareHandler> {
        let timestamp = pd::TsoResponse { timestamp: 1 << 20, count: 1, ..Default::default() };
        match self {
            Self::Tso => BareHandler::start(&pd_methods::TSO, timestamp),
            Self::StreamedTso => BareHandler::start_stream(&pdlite_methods::TSO, timestamp),
            Self::GetRegionByKey => {
                let region = Some(regions::message(REGION, regions::FIRST_VERSION)).into();
                let found = pd::GetRegionByKeyResponse { region, ..Default::default() };
                BareHandler::start(&pd_methods::GET_REGION_BY_KEY, found)
            }
            Self::RegionHeartbeat => {
                let accepted = pd::RegionHeartbeatResponse { accepted: true, ..Default::default() };
                BareHandler::start(&pd_methods::REGION_HEARTBEAT, accepted)
            }
        }
    }
}

/// Serves the call of this name, tells the address as pd-lite does, and ends with the process that holds standard input.
pub fn serve(name: &str) -> Result<()> {
    let call = Call::ALL.into_iter().find(|call| format!("{call:?}") == name);
    let server = call.ok_or_else(|| format!("no floor {name:?}"))?.serve()?;
    println!("{LISTENING}{}", server.addr());
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
