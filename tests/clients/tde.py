"""What a database with transparent encryption asks of a token: python3 tde.py MODULE LABEL PIN COMMAND ..., by PyKCS11.

One master key per generation, found by its label, and a record beside it: the calls and attributes are those that Oracle's TDE is
known for (a token key AES-256, sensitive, not extractable, that encrypts, decrypts, wraps and unwraps; CBC with padding; a wallet
that stays open in every process).
"""
import os
import signal
import sys

import PyKCS11
from PyKCS11 import *  # noqa: F403  the constants

MODULE, LABEL, PIN, COMMAND, *ARGUMENTS = sys.argv[1:]
IV = bytes(16)
TABLE_KEY = bytes(range(48))


def load():
    lib = PyKCS11.PyKCS11Lib()
    lib.load(MODULE)
    return lib


def open_wallet(lib):
    slot = next(s for s in lib.getSlotList(tokenPresent=True) if lib.getTokenInfo(s).label.strip() == LABEL)
    session = lib.openSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION)
    session.login(PIN)
    return session


def key_label(generation):
    return f"ORACLE.TDE.HSM.MK.06{int(generation):030X}"


def record_label(generation):
    return f"ORACLE.SECURITY.KM.ENCRYPTION.{int(generation):034X}"


def find(session, cls, label):
    return session.findObjects([(CKA_CLASS, cls), (CKA_TOKEN, CK_TRUE), (CKA_LABEL, label)])


def master(session, generation):
    found = find(session, CKO_SECRET_KEY, key_label(generation))
    assert len(found) == 1, f"{len(found)} keys with this label"
    return found[0]


def all_labels(session, cls, prefix):
    labels = [session.getAttributeValue(o, [CKA_LABEL])[0] for o in session.findObjects([(CKA_CLASS, cls)])]
    return [label for label in labels if label.startswith(prefix)]


def list_keys(session):
    keys = all_labels(session, CKO_SECRET_KEY, "ORACLE.TDE.HSM.MK.")
    records = all_labels(session, CKO_DATA, "ORACLE.SECURITY.KM.ENCRYPTION.")
    print(f"{len(keys)} master keys, {len(records)} records")


def set_key(session, generation):
    assert not find(session, CKO_SECRET_KEY, key_label(generation))
    yes = [(a, CK_TRUE) for a in (CKA_TOKEN, CKA_PRIVATE, CKA_SENSITIVE, CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP)]
    key = session.generateKey(
        [(CKA_CLASS, CKO_SECRET_KEY), (CKA_KEY_TYPE, CKK_AES), (CKA_VALUE_LEN, 32), (CKA_EXTRACTABLE, CK_FALSE),
         (CKA_LABEL, key_label(generation)), *yes])
    assert master(session, generation).value() == key.value()
    value = f"generation {generation}".encode()
    session.createObject([(CKA_CLASS, CKO_DATA), (CKA_TOKEN, CK_TRUE), (CKA_PRIVATE, CK_TRUE), (CKA_APPLICATION, "ORACLE"),
                          (CKA_LABEL, record_label(generation)), (CKA_VALUE, value)])
    record, = find(session, CKO_DATA, record_label(generation))
    assert bytes(session.getAttributeValue(record, [CKA_VALUE])[0]) == value


def mechanism():
    return PyKCS11.Mechanism(CKM_AES_CBC_PAD, IV)


def encrypt(session, generation, path):
    secret = bytes(session.encrypt(master(session, generation), TABLE_KEY, mechanism()))
    assert len(secret) == 64 and TABLE_KEY[:16] not in secret
    with open(path, "wb") as file:
        file.write(secret)


def decrypt(session, generation, path):
    with open(path, "rb") as file:
        secret = file.read()
    assert bytes(session.decrypt(master(session, generation), secret, mechanism())) == TABLE_KEY


def workers(lib, generation, path):
    """Processes that a process with an open wallet forks: each loads the module anew, as its parent's sessions are not its."""
    decrypt(open_wallet(lib), generation, path)
    children = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                lib.lib.C_Initialize()
                session = open_wallet(lib)
                for _ in range(5):
                    decrypt(session, generation, path)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert ended == [0] * 8, ended


def locked(session, generation):
    """The value cannot be read, nor wrapped, and the key cannot be made such that it could."""
    key = master(session, generation)
    assert session.getAttributeValue(key, [CKA_VALUE])[0] is None
    for call in (lambda: session.setAttributeValue(key, [(CKA_EXTRACTABLE, CK_TRUE)]),
                 lambda: session.wrapKey(key, key, mechanism())):
        try:
            call()
        except PyKCS11.PyKCS11Error as refused:
            print(refused)
        else:
            raise AssertionError("was not refused")


def stay(session, generation, path):
    """An instance that goes on through an outage, with the session that it had. A signal lets it try the next time."""
    signals = [signal.SIGUSR1]
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    decrypt(session, generation, path)
    print("open", flush=True)
    signal.sigwait(signals)
    try:
        decrypt(session, generation, path)
        print("away: but it goes on", flush=True)
    except PyKCS11.PyKCS11Error as error:
        print("away:", error, flush=True)
    signal.sigwait(signals)
    decrypt(session, generation, path)
    print("back", flush=True)


commands = {"list": list_keys, "set-key": set_key, "encrypt": encrypt, "decrypt": decrypt, "locked": locked, "stay": stay}
library = load()
if COMMAND == "workers":
    workers(library, *ARGUMENTS)
else:
    commands[COMMAND](open_wallet(library), *ARGUMENTS)
