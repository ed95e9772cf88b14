//! A disk that is mounted read-only: nothing starts on it, its workdir can be looked at, and goes on once it is writable again.

use super::Ledger;
use crate::support::{EXIT_DISK, SmallDisk, files};

#[test]
fn nothing_starts_on_a_read_only_disk_and_the_workdir_stays_as_it_is() {
    let Some(disk) = SmallDisk::new() else { return };
    let mut ledger = Ledger::default();
    for clean in [false, true] {
        let server = disk.launch().start();
        let client = server.client();
        ledger.put(&client, 0).unwrap();
        ledger.check(&client);
        if clean {
            server.stop();
        } else {
            server.kill();
        }
        let before = files(&disk.workdir());
        disk.remount("ro");
        let exit = disk.launch().refused();
        assert_eq!(exit.code, Some(EXIT_DISK), "{exit:#?}");
        assert!(exit.stderr.contains("mount its file system for writing"), "{exit:#?}");
        assert_eq!(files(&disk.workdir()), before);
        disk.remount("rw");
    }
    let server = disk.launch().start();
    ledger.check(&server.client());
    server.stop();
}

#[test]
fn a_first_start_on_a_read_only_disk_says_so() {
    let Some(disk) = SmallDisk::new() else { return };
    disk.remount("ro");
    let exit = disk.launch().refused();
    assert_eq!(exit.code, Some(EXIT_DISK), "{exit:#?}");
    assert!(exit.stderr.contains("mount its file system for writing"), "{exit:#?}");
}
