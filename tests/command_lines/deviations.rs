//! The recorded command lines that the program answers otherwise, by name and with the reason. Numbers are those of the
//! reference's defects, which are not to be copied.

use super::{Case, StderrRule};

/// A case that does not hold as recorded.
pub struct Deviation {
    pub file: &'static str,
    pub case: &'static str,
    pub why: &'static str,
    /// Makes of the recorded case what is expected in its place.
    pub change: fn(&mut Case),
}

const USAGE_CODE: &str = "a wrong command line is exit code 2 everywhere";
const WARNED: &str = "without a workdir one line warns that timestamps start anew";
const STRAY_WORD: &str = "defect 18: stray words are refused";
const EMPTY_FIELD: &str = "defect 19: an empty field is printed as -";

pub const ALL: [Deviation; 21] = [
    Deviation { file: "nokv.json", case: "no command", why: USAGE_CODE, change: |case| case.exit = 2 },
    Deviation {
        file: "nokv.json",
        case: "unknown command",
        why: "a wrong command line is exit code 2 everywhere, and the line says where the help is",
        change: |case| {
            case.exit = 2;
            case.stderr = "error: unknown command \"frobnicate\" (see pd-lite --help)\n".to_owned();
        },
    },
    Deviation { file: "pd.json", case: "in memory", why: WARNED, change: warned },
    Deviation { file: "pd.json", case: "an empty --workdir beats the config too", why: WARNED, change: warned },
    Deviation { file: "pd.json", case: "bad scope is not looked at without a config", why: WARNED, change: warned },
    Deviation { file: "pd.json", case: "config without a pd block", why: WARNED, change: warned },
    Deviation {
        file: "pd.json",
        case: "new workdir",
        why: "the manifest is in our own form, with checksums and batches, which the reference reads too",
        change: |case| {
            case.files_after.clear();
            case.ours_after.push("wd");
        },
    },
    Deviation {
        file: "pd.json",
        case: "a word in front of the flags ends them",
        why: STRAY_WORD,
        change: |case| {
            refused(case, "unexpected word");
        },
    },
    Deviation {
        file: "pd.json",
        case: "help is an error without a text",
        why: "defect 18: --help prints the flags",
        change: |case| {
            case.exit = 0;
            case.stdout = None;
            let words = ["Usage", "--addr", "--workdir", "--config", "--scope", "--id-start", "--ts-start"];
            case.stdout_words = Some(words.map(str::to_owned).into());
            case.stderr.clear();
            case.stderr_rule = StderrRule::Exact;
        },
    },
    Deviation {
        file: "pd.json",
        case: "manifest cut",
        why: "defect 4: a torn last record is dropped with a warning",
        change: |case| {
            case.run = Some("serve-then-term".to_owned());
            case.exit = 0;
            let lines = "PD restored 1 region(s) from manifest: {dir}/wd\nPD allocator starts: id=11 ts=21\n";
            case.stdout = Some(format!("{lines}PD-lite service listening on {{addr}}\n"));
            case.stderr = "WARN".to_owned();
            case.stderr_rule = StderrRule::With;
            case.ours_after.push("wd");
        },
    },
    Deviation { file: "config-stores.json", case: "simple", why: EMPTY_FIELD, change: dash_for_addr },
    Deviation { file: "config-stores.json", case: "simple, named", why: EMPTY_FIELD, change: dash_for_addr },
    Deviation { file: "config-stores.json", case: DEFAULT_FILE, why: EMPTY_FIELD, change: dash_for_addr },
    Deviation { file: "config-stores.json", case: WORDS_BEHIND, why: STRAY_WORD, change: stray_word },
    Deviation { file: "config-regions.json", case: "simple", why: EMPTY_FIELD, change: dash_for_peers },
    Deviation { file: "config-regions.json", case: "simple, named", why: EMPTY_FIELD, change: dash_for_peers },
    Deviation { file: "config-regions.json", case: DEFAULT_FILE, why: EMPTY_FIELD, change: dash_for_peers },
    Deviation { file: "config-regions.json", case: WORDS_BEHIND, why: STRAY_WORD, change: stray_word },
    Deviation {
        file: "config-regions.json",
        case: "keys that are not printable ASCII, simple",
        why: "defect 19: a key with a blank is printed as hex:, because it would be two fields",
        change: |case| print_instead(case, " a b~ ", " hex:6120627e "),
    },
    Deviation {
        file: "config-manifest.json",
        case: "dash means unbounded; unknown state counts as running",
        why: "defect 20: an unknown --state is refused",
        change: |case| refused(case, "--state"),
    },
    Deviation {
        file: "config-manifest.json",
        case: "a second region is appended",
        why: "defect 20: the region overlaps one that is there",
        change: |case| {
            case.exit = 1;
            case.stdout = Some(String::new());
            case.stderr = "nokv-config manifest: region range overlap: region=8 overlaps region=2\n".to_owned();
            case.files_after.insert(
                "wd/MANIFEST-000001".to_owned(),
                "100000004e6f4b5607010000016d01010001010b100000004e6f4b56070200016d00010100010115".to_owned(),
            );
        },
    },
];

const DEFAULT_FILE: &str = "default config file is raft_config.example.json in the working directory";
const WORDS_BEHIND: &str = "words behind the flags are ignored";

/// The exit codes of the recorded failures of `pd`, all of which are 1 in the reference.
pub const PD_EXITS: [(&str, i32); 17] = [
    ("unknown flag", 2),
    ("flag without its value", 2),
    ("start value that is not a number", 2),
    ("negative start value", 2),
    ("help is an error without a text", 2),
    ("bad scope with a config", 2),
    ("config missing", 2),
    ("config not JSON", 2),
    ("config not valid", 2),
    ("address without a port", 2),
    ("address is not of this machine", 2),
    ("address in use", 3),
    ("workdir is a file", 2),
    ("state file cut", 4),
    ("manifest with a bad magic", 4),
    ("manifest cut", 4),
    ("manifest with overlapping regions", 4),
];

/// The same for `serve`.
pub const SERVE_EXITS: [(&str, i32); 11] = [
    ("no workdir", 2),
    ("no store id", 2),
    ("no election tick", 2),
    ("negative heartbeat tick", 2),
    ("peer without a PD address", 2),
    ("peer with a blank PD address", 2),
    ("empty peer value", 2),
    ("unknown flag", 2),
    ("PD that does not answer: gives up after 5 s", 6),
    ("peer without =", 2),
    ("peer with a bad id", 2),
];

/// Expects our exit code in place of the reference's.
pub fn expect_our_exit(case: &mut Case) {
    case.exit = exit_of(&SERVE_EXITS, &case.name);
}

fn exit_of(exits: &[(&str, i32)], case: &str) -> i32 {
    exits.iter().find(|(name, _)| *name == case).unwrap_or_else(|| panic!("{case}")).1
}

/// Expects our exit code and one line, in place of the reference's.
pub fn expect_our_failure(case: &mut Case) {
    case.exit = exit_of(&PD_EXITS, &case.name);
    case.stderr = "error: ".to_owned();
    case.stderr_rule = StderrRule::LineWith;
}

fn warned(case: &mut Case) {
    case.stderr = "timestamps start anew".to_owned();
    case.stderr_rule = StderrRule::LineWith;
}

/// A wrong command line: nothing on stdout, a line that says `what`, exit code 2.
fn refused(case: &mut Case, what: &str) {
    case.exit = 2;
    case.stdout = Some(String::new());
    case.stderr = what.to_owned();
    case.stderr_rule = StderrRule::LineWith;
    case.files_after.clear();
}

fn stray_word(case: &mut Case) {
    refused(case, "unexpected word \"extra\"");
}

fn dash_for_addr(case: &mut Case) {
    print_instead(case, "\n9 -  - - ", "\n9 - - - - ");
}

fn dash_for_peers(case: &mut Case) {
    print_instead(case, "\n30 hex:c3a9 - 0 0  0\n", "\n30 hex:c3a9 - 0 0 - 0\n");
}

fn print_instead(case: &mut Case, recorded: &str, ours: &str) {
    let stdout = case.stdout.as_mut().unwrap();
    assert!(stdout.contains(recorded));
    *stdout = stdout.replace(recorded, ours);
}
