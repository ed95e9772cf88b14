//! Signals that interrupt system calls are not noticed: every second call that touches the disk ends with EINTR, by strace.
//! Below the file seam the standard library repeats such calls, which no fault in front of the seam can show.

use std::fs;
use std::process::Command;

use crate::support::strace;

const CALLS: &str = "fsync,fdatasync,ftruncate,pwrite64";

#[test]
fn interrupted_system_calls_are_repeated() {
    if !strace::is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (workdir, trace) = (dir.path().join("wd"), dir.path().join("trace"));
    let manifest = ["config", "manifest", "--region-id", "1", "--peer", "1:11"];
    let counters = ["ctl", "workdir", "set-min", "--id-min", "50", "--ts-min", "60"];
    for (args, syncs) in [(&manifest[..], 5), (&counters, 2), (&manifest, 2)] {
        let mut program = Command::new("strace");
        program.arg("-f").arg("-o").arg(&trace).args(["-e", &format!("trace={CALLS}")]);
        program.args(["-e", &format!("inject={CALLS}:error=EINTR:when=1+2"), env!("CARGO_BIN_EXE_pd-lite")]);
        let output = program.args(args).arg("--workdir").arg(&workdir).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let trace = fs::read_to_string(&trace).unwrap();
        let done = |line: &&str| line.contains("sync(") && line.ends_with("= 0");
        assert!(trace.lines().filter(done).count() >= syncs, "{trace}");
        assert!(trace.matches("EINTR (Interrupted system call) (INJECTED)").count() > syncs, "{trace}");
    }
    assert_eq!(fs::read_to_string(workdir.join("PD_STATE.json")).unwrap(), r#"{"id_current":49,"ts_current":59}"#);
}
