//! Where the embedded server answers otherwise than the recording, and why that is right.

/// A difference that is meant.
struct Known {
    /// The beginning of the case's name, behind its version; empty for every case.
    case: &'static str,
    /// The step, counted from 0; `None` for all.
    step: Option<usize>,
    /// What the line about the difference has in it.
    line: &'static str,
    /// Why.
    why: &'static str,
}

const DIFFERENCES: &[Known] = &[
    Known {
        case: "",
        step: None,
        line: "\"Fresh\"",
        why: "Fresh is kept of members of a group only: to note it of every key would make the first Get of each a write",
    },
    Known {
        case: "AKLC_O_1_10",
        step: None,
        line: "Attribute Some(\"Digest\") is missing",
        why: "in 1.0 Digest is given to those who ask for it: clients are known that cannot read it there",
    },
    Known {
        case: "SKLC_O_1_10",
        step: None,
        line: "Attribute Some(\"Digest\") is missing",
        why: "in 1.0 Digest is given to those who ask for it: clients are known that cannot read it there",
    },
    Known {
        case: "TL_M_3_10",
        step: None,
        line: "Attribute Some(\"Digest\") is missing",
        why: "in 1.0 Digest is given to those who ask for it: clients are known that cannot read it there",
    },
    Known {
        case: "SKFF_O_6",
        step: Some(8),
        line: "\"Object Group\"",
        why: "there is no group that nobody asked for",
    },
    Known {
        case: "TC_111",
        step: Some(2),
        line: "Item Not Found instead of Permission Denied",
        why: "what belongs to another client is not found: its existence is not disclosed",
    },
    Known {
        case: "TC_112",
        step: Some(2),
        line: "Item Not Found instead of Permission Denied",
        why: "what belongs to another client is not found: its existence is not disclosed",
    },
    Known {
        case: "TC_121",
        step: Some(1),
        line: "Operation ",
        why: "Notify and Put ask clients",
    },
    Known {
        case: "TC_122",
        step: None,
        line: "Extension Information",
        why: "there are no extensions",
    },
    Known {
        case: "TC_142",
        step: Some(2),
        line: "96 bytes instead of 24",
        why: "without Encoding Option the Key Value is wrapped with the attributes that are asked for; the recorded server \
              wrapped the bare key",
    },
    Known {
        case: "TC_32",
        step: Some(8),
        line: "Batch Item",
        why: "each request is played on a new server, so there is nothing to cancel",
    },
    Known {
        case: "TC_92",
        step: None,
        line: "(State)",
        why: "the recording waits two minutes, or its dates have passed",
    },
    Known {
        case: "TC-SK-CREATE",
        step: None,
        line: "",
        why: "a key that was never activated does not encrypt, and not without parameters",
    },
    Known {
        case: "TC_ECC_2_12",
        step: Some(5),
        line: "172 bytes instead of 118",
        why: "the recorded server opened an encrypted PKCS#8 key, whose password it must have been told otherwise",
    },
    Known {
        case: "TC_ECC_3",
        step: Some(8),
        line: "instead of 180",
        why: "the recorded server gave a key back encrypted, under a password that is not in the message",
    },
    Known {
        case: "TC_ECC_3_11",
        step: Some(9),
        line: "88 bytes instead of 91",
        why: "the recording gives back another public key than was registered",
    },
];

/// Cases of which the rest, from a step on, cannot be played.
const ENDS: &[(&str, usize, &str)] = &[
    (
        "CS_BC_M_7_12",
        0,
        "its key was on the recorded server before",
    ),
    ("TC_134", 3, "the recording lost the request of Certify"),
    ("TC_151", 0, "its group was on the recorded server before"),
    (
        "TC_SJ_1",
        1,
        "the recording lost the request of Create Split Key",
    ),
    (
        "TC_SJ_2",
        1,
        "the recording lost the request of Create Split Key",
    ),
    (
        "TC_SJ_3",
        0,
        "the recording lost the requests that register the parts",
    ),
    (
        "TC_SJ_4",
        6,
        "the recording lost the request of Join Split Key",
    ),
];

/// Cases that go on where another ended.
const BEGINNINGS: &[(&str, &str)] = &[("SASED_M_3", "SASED_M_2"), ("TL_M_3", "TL_M_2")];

pub fn behind_version(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, name)| name)
}

/// Why a difference is meant.
pub fn reason(name: &str, step: usize, line: &str) -> Option<&'static str> {
    let name = behind_version(name);
    let is_it = |known: &&Known| {
        name.starts_with(known.case)
            && known.step.is_none_or(|at| at == step)
            && line.contains(known.line)
    };
    DIFFERENCES.iter().find(is_it).map(|known| known.why)
}

/// Why the rest of a case cannot be played.
pub fn end(name: &str, step: usize) -> Option<&'static str> {
    let name = behind_version(name);
    ENDS.iter()
        .find(|(case, at, _)| name.starts_with(case) && *at == step)
        .map(|(_, _, why)| *why)
}

/// The beginning of the name of the case that this one goes on with, in its spelling.
pub fn beginning(name: &str) -> Option<String> {
    let name = behind_version(name);
    BEGINNINGS.iter().find_map(|(case, first)| {
        let dashed = case.replace('_', "-");
        match name {
            _ if name.starts_with(case) => Some((*first).to_owned()),
            _ if name.starts_with(&dashed) => Some(first.replace('_', "-")),
            _ => None,
        }
    })
}

/// How many seconds ago a conversation began that waits for its dates.
pub fn earlier(name: &str) -> i64 {
    match behind_version(name).starts_with("TC_92") {
        true => 121,
        false => 0,
    }
}

/// Cases in which an item has another status or reason, and why.
const OTHER_STATUS: &[(&str, &str)] = &[
    (
        "TC_111",
        "what belongs to another client is not found: its existence is not disclosed",
    ),
    (
        "TC_112",
        "what belongs to another client is not found: its existence is not disclosed",
    ),
    ("TC_151", "its group was on the recorded server before"),
    ("CS_BC_M_7_12", "its key was on the recorded server before"),
    (
        "TC-SK-CREATE",
        "a key that was never activated does not encrypt, and not without parameters",
    ),
    (
        "CS-BC-M-GCM-1",
        "a wrong tag is Cryptographic Failure, as the specification says, not General Failure",
    ),
    (
        "CS-RNG-O-4",
        "RNG Seed succeeds and takes no bytes, which the profile allows beside a refusal",
    ),
];

/// Why an item of a case has another status or reason.
pub fn other_status(name: &str) -> Option<&'static str> {
    let name = behind_version(name);
    OTHER_STATUS
        .iter()
        .find(|(case, _)| name.starts_with(case))
        .map(|(_, why)| *why)
}
