//! Slots and tokens, as `C_GetInfo` to `C_InitToken` show them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Module;
use crate::ck::*;
use crate::config::{self, Settings, StoreKind, TokenConfig};
use crate::error::{Error, Result};
use crate::mech;
use crate::token::files::TokenDir;
use crate::token::pin::{PIN_MAX, PIN_MIN, Who, new_pin};
use crate::token::secrets::{IdentityChange, NewToken, UserPin, create_token};
use crate::token::{Handles, Token, lock};

/// How often a blocking `C_WaitForSlotEvent` looks at the token directory.
const WAIT: Duration = Duration::from_millis(200);

/// The slots: one for each token, and at the end a free one that a token can be made in (SoftHSM's rule).
pub struct Slots {
    tokens: Vec<(CK_SLOT_ID, Arc<Token>)>,
    free: CK_SLOT_ID,
    /// What `C_WaitForSlotEvent` has told so far: the slots with an initialised token.
    told: Vec<CK_SLOT_ID>,
}

/// What is in a slot.
enum Slot {
    Token(Arc<Token>),
    Free,
}

impl Slots {
    /// The slots of a token directory.
    pub fn read(dir: &TokenDir, handles: &Arc<Handles>) -> Result<Slots> {
        let mut slots = Slots {
            tokens: Vec::new(),
            free: 0,
            told: Vec::new(),
        };
        slots.refresh(dir.load()?.tokens, dir, handles);
        slots.told = slots.ids().collect();
        Ok(slots)
    }

    /// Takes over what the token directory says now. A token keeps what it knows; one that is gone lives on in its sessions.
    fn refresh(&mut self, configs: Vec<TokenConfig>, dir: &TokenDir, handles: &Arc<Handles>) {
        let old = std::mem::take(&mut self.tokens);
        self.free = configs.len() as CK_SLOT_ID;
        for config in configs {
            let slot = CK_SLOT_ID::from(config.slot());
            let token = match old.iter().find(|(_, token)| token.uuid() == config.uuid) {
                Some((_, token)) => {
                    token.refresh(config);
                    token.clone()
                }
                None => Arc::new(Token::new(dir, config, handles.clone())),
            };
            self.tokens.push((slot, token));
        }
    }

    /// The tokens.
    pub(super) fn tokens(&self) -> Vec<Arc<Token>> {
        self.tokens.iter().map(|(_, token)| token.clone()).collect()
    }

    fn ids(&self) -> impl Iterator<Item = CK_SLOT_ID> {
        self.tokens.iter().map(|(slot, _)| *slot)
    }

    fn get(&self, slot: CK_SLOT_ID) -> Result<Slot> {
        match self.tokens.iter().find(|(id, _)| *id == slot) {
            Some((_, token)) => Ok(Slot::Token(token.clone())),
            None if slot == self.free => Ok(Slot::Free),
            None => Err(CKR_SLOT_ID_INVALID.into()),
        }
    }
}

impl Module {
    /// The token in a slot. `CKR_SLOT_ID_INVALID`; `CKR_TOKEN_NOT_RECOGNIZED` where it is not initialised.
    pub(super) fn token(&self, slot: CK_SLOT_ID) -> Result<Arc<Token>> {
        match lock(&self.slots).get(slot)? {
            Slot::Token(token) => Ok(token),
            Slot::Free => Err(CKR_TOKEN_NOT_RECOGNIZED.into()),
        }
    }

    fn refresh_slots(&self) -> Result<()> {
        let tokens = self
            .dir
            .load()
            .map_err(|e| e.with_rv(CKR_FUNCTION_FAILED))?
            .tokens;
        lock(&self.slots).refresh(tokens, &self.dir, &self.handles);
        Ok(())
    }

    /// `C_GetInfo`.
    pub fn info(&self) -> CK_INFO {
        CK_INFO {
            cryptokiVersion: CK_VERSION { major: 3, minor: 0 },
            manufacturerID: padded("mrhsm"),
            flags: 0,
            libraryDescription: padded("PKCS#11 on KMIP"),
            libraryVersion: VERSION,
        }
    }

    /// `C_GetSlotList`, on the size query (`refresh`) after reading the token directory again. No network.
    pub fn slot_list(&self, token_present: bool, refresh: bool) -> Result<Vec<CK_SLOT_ID>> {
        // Every slot has a token, the free one an uninitialised one.
        let _ = token_present;
        if refresh {
            self.refresh_slots()?;
        }
        let slots = lock(&self.slots);
        Ok(slots.ids().chain([slots.free]).collect())
    }

    /// `C_GetSlotInfo`. No network.
    pub fn slot_info(&self, slot: CK_SLOT_ID) -> Result<CK_SLOT_INFO> {
        lock(&self.slots).get(slot)?;
        Ok(CK_SLOT_INFO {
            slotDescription: padded(&format!("mrhsm slot ID {slot:#x}")),
            manufacturerID: padded("mrhsm"),
            flags: CKF_TOKEN_PRESENT,
            hardwareVersion: VERSION,
            firmwareVersion: VERSION,
        })
    }

    /// `C_GetTokenInfo`. No network.
    pub fn token_info(&self, slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO> {
        let mut info = CK_TOKEN_INFO {
            label: padded(""),
            manufacturerID: padded("mrhsm"),
            model: padded("mrhsm"),
            serialNumber: padded(""),
            // States of digests are saved, and no others: none needs a key to be restored.
            flags: CKF_RNG
                | CKF_LOGIN_REQUIRED
                | CKF_DUAL_CRYPTO_OPERATIONS
                | CKF_RESTORE_KEY_NOT_NEEDED,
            ulMaxSessionCount: CK_EFFECTIVELY_INFINITE,
            ulSessionCount: 0,
            ulMaxRwSessionCount: CK_EFFECTIVELY_INFINITE,
            ulRwSessionCount: 0,
            ulMaxPinLen: PIN_MAX as CK_ULONG,
            ulMinPinLen: PIN_MIN as CK_ULONG,
            ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
            hardwareVersion: VERSION,
            firmwareVersion: VERSION,
            utcTime: padded(""),
        };
        let found = lock(&self.slots).get(slot)?;
        let Slot::Token(token) = found else {
            return Ok(info);
        };
        let config = token.config();
        info.label = padded(&config.label);
        info.model = padded(match config.settings.store {
            StoreKind::Kmip => "KMIP token",
            StoreKind::File => "file token",
        });
        info.serialNumber = padded(&config.serial);
        info.flags |= CKF_TOKEN_INITIALIZED;
        if token.files().has_user_pin().unwrap_or(false) {
            info.flags |= CKF_USER_PIN_INITIALIZED;
        }
        let failures = token.files().failures().unwrap_or_default();
        let max = config.settings.max_pin_failures;
        info.flags |= pin_flags(failures.user, max, USER_PIN_FLAGS);
        info.flags |= pin_flags(failures.so, max, SO_PIN_FLAGS);
        for session in lock(&self.sessions)
            .values()
            .filter(|s| s.token.uuid() == token.uuid())
        {
            info.ulSessionCount += 1;
            info.ulRwSessionCount += CK_ULONG::from(session.write);
        }
        Ok(info)
    }

    /// `C_WaitForSlotEvent`: `CKR_NO_EVENT` when it must not block and nothing happened; `CKR_CRYPTOKI_NOT_INITIALIZED` when the module
    /// is finalised meanwhile. An event is a token made or removed, by whatever process.
    pub fn wait_for_slot_event(&self, flags: CK_FLAGS) -> Result<CK_SLOT_ID> {
        loop {
            self.refresh_slots()?;
            if let Some(slot) = lock(&self.slots).event() {
                return Ok(slot);
            }
            if flags & CKF_DONT_BLOCK != 0 {
                return Err(CKR_NO_EVENT.into());
            }
            std::thread::sleep(WAIT);
            if self.closed.load(Ordering::Relaxed) {
                return Err(CKR_CRYPTOKI_NOT_INITIALIZED.into());
            }
        }
    }

    /// Ends blocking calls: `C_Finalize`.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// `C_GetMechanismList`.
    pub fn mechanism_list(&self, slot: CK_SLOT_ID) -> Result<Vec<CK_MECHANISM_TYPE>> {
        lock(&self.slots).get(slot)?;
        Ok(mech::MECHANISMS.iter().map(|m| m.kind).collect())
    }

    /// `C_GetMechanismInfo`.
    pub fn mechanism_info(
        &self,
        slot: CK_SLOT_ID,
        kind: CK_MECHANISM_TYPE,
    ) -> Result<CK_MECHANISM_INFO> {
        let slot = lock(&self.slots).get(slot)?;
        let entry = mech::entry(kind)?;
        let hardware = match slot {
            Slot::Token(token) if entry.in_store() && token.works_in_store() => CKF_HW,
            _ => 0,
        };
        Ok(CK_MECHANISM_INFO {
            ulMinKeySize: entry.min,
            ulMaxKeySize: entry.max,
            flags: entry.flags | hardware,
        })
    }

    /// `C_InitToken`; `so_pin` is `None` for a NULL pointer, `label` as given, blank padded.
    ///
    /// A token made in the free slot stays in it until the slots are listed anew. A token that exists gets a new
    /// token key and loses the objects it made and its user PIN; its hosts, identity and the cluster's keys stay.
    pub fn init_token(
        &self,
        slot: CK_SLOT_ID,
        so_pin: Option<&[u8]>,
        label: &[u8; 32],
    ) -> Result<()> {
        let found = lock(&self.slots).get(slot)?;
        let so_pin = so_pin.ok_or(CKR_ARGUMENTS_BAD)?;
        // Some callers pass a C string (PyKCS11): what stands behind its end is no text.
        let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
        let label = std::str::from_utf8(label)
            .map_err(|_| CKR_ARGUMENTS_BAD)?
            .trim_end_matches(' ');
        config::check_label(label).map_err(Error::input)?;
        match found {
            Slot::Free => {
                let so_pin = new_pin(so_pin)?;
                // No PIN authenticates the defaults, and the caller does not see them: hosts are set with `mrhsm set`.
                let settings = Settings {
                    hosts: Vec::new(),
                    ..self.dir.load()?.defaults
                };
                let (user_pin, identity) = (UserPin::None, IdentityChange::default());
                let config = create_token(
                    &self.dir,
                    &NewToken {
                        label,
                        so_pin: &so_pin,
                        user_pin,
                        settings,
                        username: None,
                        identity,
                    },
                )?;
                let token = Arc::new(Token::new(&self.dir, config, self.handles.clone()));
                let mut slots = lock(&self.slots);
                slots.tokens.push((slot, token));
                slots.free += 1;
            }
            Slot::Token(token) => {
                if lock(&self.sessions)
                    .values()
                    .any(|s| s.token.uuid() == token.uuid())
                {
                    return Err(CKR_SESSION_EXISTS.into());
                }
                token.login(Who::So, so_pin)?;
                let done = token
                    .destroy_all()
                    .and_then(|()| token.files().reinit(so_pin, label));
                let _ = token.logout();
                done?;
                let mut config = token.config();
                config.label = label.into();
                token.set_config(config);
            }
        }
        Ok(())
    }
}

impl Slots {
    /// The next slot whose token came or went since the last was told.
    fn event(&mut self) -> Option<CK_SLOT_ID> {
        let now: Vec<CK_SLOT_ID> = self.ids().collect();
        if let Some(i) = self.told.iter().position(|slot| !now.contains(slot)) {
            return Some(self.told.remove(i));
        }
        let new = now.into_iter().find(|slot| !self.told.contains(slot))?;
        self.told.push(new);
        Some(new)
    }
}

/// The flags of a PIN that was given wrongly: some times, all but once as often as is allowed, and as often.
type PinFlags = [CK_FLAGS; 3];

const USER_PIN_FLAGS: PinFlags = [
    CKF_USER_PIN_COUNT_LOW,
    CKF_USER_PIN_FINAL_TRY,
    CKF_USER_PIN_LOCKED,
];
const SO_PIN_FLAGS: PinFlags = [
    CKF_SO_PIN_COUNT_LOW,
    CKF_SO_PIN_FINAL_TRY,
    CKF_SO_PIN_LOCKED,
];

/// What `C_GetTokenInfo` says of a PIN after so many `failures`, of which `max` lock it (0: none does).
fn pin_flags(failures: u32, max: u32, [low, final_try, locked]: PinFlags) -> CK_FLAGS {
    match failures {
        _ if max > 0 && failures >= max => low | locked,
        _ if max > 0 && failures + 1 == max => low | final_try,
        0 => 0,
        _ => low,
    }
}

/// The version of this library, as PKCS#11 shows it.
const VERSION: CK_VERSION = CK_VERSION { major: 0, minor: 1 };

/// `text` in a field of `N` bytes, blank padded and cut where a character ends (PKCS#11 never uses a NUL there).
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let mut end = text.len().min(N);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}

/// The error of a PIN that is refused as an argument (`C_InitPIN`, `C_SetPIN`): its length is the only rule.
pub(super) fn pin_of(pin: Option<&[u8]>) -> Result<&[u8], Error> {
    // There is no protected authentication path that a NULL PIN would mean.
    pin.ok_or_else(|| CKR_ARGUMENTS_BAD.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_tell_how_many_attempts_a_pin_has_left() {
        let flags = |failures, max| pin_flags(failures, max, [1, 2, 4]);
        assert_eq!([0, 1, 2, 3, 9].map(|n| flags(n, 3)), [0, 1, 3, 5, 5]);
        assert_eq!([0, 1, 1000].map(|n| flags(n, 0)), [0, 1, 1]);
        assert_eq!([0, 1].map(|n| flags(n, 1)), [3, 5]);
    }

    #[test]
    fn fields_are_blank_padded_and_cut_between_characters() {
        assert_eq!(&padded::<6>("abc"), b"abc   ");
        assert_eq!(&padded::<4>("abcdef"), b"abcd");
        assert_eq!(&padded::<4>("abc\u{e9}"), b"abc ");
        assert_eq!(&padded::<3>(""), b"   ");
    }
}
