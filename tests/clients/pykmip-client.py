"""Every call of PyKMIP's client library on a server: pykmip-client.py PORT FOLDER (ca.pem, client.*, stranger.*).

The last line counts: "N passed, N failed". What the server computes is compared with what the cryptography package computes.
"""

import base64
import logging
import os
import sys

from cryptography.hazmat.primitives import cmac, hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from kmip.core import enums, objects as core_objects
from kmip.core.factories import attributes as attribute_factory
from kmip.pie import client as pie, exceptions, objects
from kmip.services.kmip_client import KMIPProxy

logging.disable(logging.CRITICAL)  # it warns of a configuration file that is not there
PORT, FOLDER = int(sys.argv[1]), sys.argv[2]
VERSIONS = [enums.KMIPVersion.KMIP_1_0, enums.KMIPVersion.KMIP_1_1, enums.KMIPVersion.KMIP_1_2, enums.KMIPVersion.KMIP_1_3,
            enums.KMIPVersion.KMIP_1_4, enums.KMIPVersion.KMIP_2_0]
Mask, Algorithm, Mode = enums.CryptographicUsageMask, enums.CryptographicAlgorithm, enums.BlockCipherMode
attribute = attribute_factory.AttributeFactory()
counts = {"passed": 0, "failed": 0}


def identity(name):
    return {"cert": f"{FOLDER}/{name}.pem", "key": f"{FOLDER}/{name}.key", "ca": f"{FOLDER}/ca.pem"}


def connect(version, name="client"):
    return pie.ProxyKmipClient(hostname="127.0.0.1", port=PORT, kmip_version=version, **identity(name))


def proxy(version):
    files = identity("client")
    return KMIPProxy(host="127.0.0.1", port=PORT, certfile=files["cert"], keyfile=files["key"], ca_certs=files["ca"],
                     kmip_version=version)


def check(sentence, good, detail=""):
    counts["passed" if good else "failed"] += 1
    if not good:
        print(f"FAILED {sentence} {detail}")


def refused(sentence, reason, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except exceptions.KmipOperationFailure as failure:
        check(sentence, failure.reason == reason, f"refused with {failure.reason}, not {reason}")
    else:
        check(sentence, False, "was not refused")


def denied(version, since_2_0):
    """Why a key may not: 2.0 has a reason for each case."""
    return since_2_0 if version == enums.KMIPVersion.KMIP_2_0 else enums.ResultReason.PERMISSION_DENIED


def keys(client, version):
    """Create, names, attributes, states, Get, Locate, Check, Re-key, Destroy."""
    name = f"key-{version.name}"
    uid = client.create(Algorithm.AES, 256, name=name, cryptographic_usage_mask=[Mask.ENCRYPT, Mask.DECRYPT])
    key = client.get(uid)
    check("a created key has 32 bytes", isinstance(key, objects.SymmetricKey) and len(key.value) == 32)
    names = client.get_attribute_list(uid)
    for expected in ("Unique Identifier", "Object Type", "Cryptographic Algorithm", "Cryptographic Length", "State", "Name",
                     "Cryptographic Usage Mask", "Initial Date", "Last Change Date"):
        check(f"the attribute list has {expected}", expected in names, names)
    _, found = client.get_attributes(uid, ["State", "Cryptographic Length"])
    values = {a.attribute_name.value: a.attribute_value.value for a in found}
    check("its state is Pre-Active", values.get("State") == enums.State.PRE_ACTIVE, values)
    check("its length is 256", values.get("Cryptographic Length") == 256, values)
    check("all attributes come back", len(client.get_attributes(uid)[1]) >= 8)
    by_name = [attribute.create_attribute(enums.AttributeType.NAME, name)]
    check("it is located by name", client.locate(attributes=by_name) == [uid])
    typed = [attribute.create_attribute(enums.AttributeType.OBJECT_TYPE, enums.ObjectType.SYMMETRIC_KEY),
             attribute.create_attribute(enums.AttributeType.STATE, enums.State.PRE_ACTIVE)]
    check("it is located by type and state", uid in client.locate(attributes=typed))
    check("one of those found is enough", len(client.locate(maximum_items=1, attributes=typed)) == 1)
    other = [attribute.create_attribute(enums.AttributeType.NAME, "no such name")]
    check("nothing is located by another name", client.locate(attributes=other) == [])
    check("check allows encryption", client.check(uid, cryptographic_usage_mask=[Mask.ENCRYPT]) == uid)
    client.activate(uid)
    refused("an active key is not destroyed", denied(version, enums.ResultReason.WRONG_KEY_LIFECYCLE_STATE), client.destroy, uid)
    new = client.rekey(uid)
    check("a key is replaced by another one", new != uid and client.get(new).value != key.value)
    check("the name goes over to it", client.locate(attributes=by_name) == [new])
    with connect(version, "stranger") as stranger:
        refused("another client does not find it", enums.ResultReason.ITEM_NOT_FOUND, stranger.get, uid)
        check("nor locates it", stranger.locate(attributes=by_name) == [])
    for each in (uid, new):
        client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, each)
        client.destroy(each)
        refused("what is destroyed is gone", enums.ResultReason.ITEM_NOT_FOUND, client.get, each)
    refused("nobody has this identifier", enums.ResultReason.ITEM_NOT_FOUND, client.get, "none")


def changes(client, version):
    """Modify, delete, set attributes."""
    uid = client.create(Algorithm.AES, 128, name="before", cryptographic_usage_mask=[Mask.ENCRYPT])
    named = lambda: [a.attribute_value for a in client.get_attributes(uid, ["Name"])[1]]  # noqa: E731
    if version == enums.KMIPVersion.KMIP_2_0:
        name = lambda text: attribute_factory.AttributeValueFactory().create_attribute_value(enums.AttributeType.NAME, text)  # noqa: E731
        client.modify_attribute(uid, current_attribute=core_objects.CurrentAttribute(attribute=name("before")),
                                new_attribute=core_objects.NewAttribute(attribute=name("after")))
        check("the name is modified", [n.name_value.value for n in named()] == ["after"])
        client.set_attribute(uid, attribute_name="Sensitive", attribute_value=True)
        refused("a sensitive key is not given", enums.ResultReason.SENSITIVE, client.get, uid)
        client.delete_attribute(uid, current_attribute=core_objects.CurrentAttribute(attribute=name("after")))
    else:
        client.modify_attribute(uid, attribute=attribute.create_attribute(enums.AttributeType.NAME, "after", 0))
        check("the name is modified", [n.name_value.value for n in named()] == ["after"])
        client.delete_attribute(uid, attribute_name="Name", attribute_index=0)
    check("the name is deleted", named() == [])
    client.destroy(uid)


def registered(client, version):
    """Register and Get of every kind of object, Derive Key."""
    value = os.urandom(16)
    key = client.register(objects.SymmetricKey(Algorithm.AES, 128, value, masks=[Mask.ENCRYPT]))
    check("a registered key comes back", client.get(key).value == value)
    # Wrapped keys are not asked for: PyKMIP reads a wrapped Key Value as a structure, where the standard has a byte string.
    pem = FOLDER + "/client.pem"
    der = [line for line in open(pem).read().split("-----") if "\n" in line][0]
    certificate = client.register(objects.X509Certificate(base64.b64decode(der), masks=[Mask.VERIFY], name="certificate"))
    check("a certificate comes back", client.get(certificate).value == base64.b64decode(der))
    password = client.register(objects.SecretData(b"password", enums.SecretDataType.PASSWORD, masks=[Mask.DERIVE_KEY]))
    check("a secret comes back", client.get(password).value == b"password")
    opaque = client.register(objects.OpaqueObject(b"opaque", enums.OpaqueDataType.NONE))
    check("an opaque object comes back", client.get(opaque).value == b"opaque")
    client.activate(password)
    derived = client.derive_key(
        enums.ObjectType.SYMMETRIC_KEY, [password], enums.DerivationMethod.PBKDF2,
        {"cryptographic_parameters": {"hashing_algorithm": enums.HashingAlgorithm.SHA_256}, "salt": b"salt", "iteration_count": 1000},
        cryptographic_length=256, cryptographic_algorithm=Algorithm.AES, cryptographic_usage_mask=[Mask.ENCRYPT])
    own = PBKDF2HMAC(algorithm=hashes.SHA256(), length=32, salt=b"salt", iterations=1000).derive(b"password")
    check("a derived key is the right one", client.get(derived).value == own)
    for uid in (key, certificate, opaque, derived):
        client.destroy(uid)


def pairs(client, version):
    """Key pairs; signatures."""
    public, private = client.create_key_pair(Algorithm.RSA, 2048, public_usage_mask=[Mask.VERIFY, Mask.ENCRYPT],
                                             private_usage_mask=[Mask.SIGN, Mask.DECRYPT], public_name="public", private_name="private")
    spki = serialization.load_der_public_key(client.get(public).value)
    check("a pair has 2048 bits", spki.key_size == 2048)
    check("the private half comes back", isinstance(client.get(private), objects.PrivateKey))
    copy = client.get(private)
    again = client.register(objects.PrivateKey(Algorithm.RSA, 2048, copy.value, copy.key_format_type, masks=[Mask.SIGN]))
    check("and is taken in again", client.get(again).value == copy.value)
    client.activate(public)
    client.activate(private)
    if version.value < enums.KMIPVersion.KMIP_1_2.value:
        return
    parameters = {"padding_method": enums.PaddingMethod.PKCS1v15, "hashing_algorithm": enums.HashingAlgorithm.SHA_256,
                  "cryptographic_algorithm": Algorithm.RSA}
    signature = client.sign(b"message", private, parameters)
    spki.verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())
    valid = lambda message: client.signature_verify(message, signature, public, parameters)  # noqa: E731
    check("its signature verifies", valid(b"message") == enums.ValidityIndicator.VALID)
    check("but not for another message", valid(b"another") == enums.ValidityIndicator.INVALID)


def cryptography(client, version):
    """Encrypt, Decrypt, MAC."""
    if version.value < enums.KMIPVersion.KMIP_1_2.value:
        return
    value = os.urandom(32)
    masks = [Mask.ENCRYPT, Mask.DECRYPT, Mask.MAC_GENERATE]
    key = client.register(objects.SymmetricKey(Algorithm.AES, 256, value, masks=masks))
    parameters = {"block_cipher_mode": Mode.CBC, "padding_method": enums.PaddingMethod.PKCS5, "cryptographic_algorithm": Algorithm.AES}
    iv = os.urandom(16)
    state = denied(version, enums.ResultReason.WRONG_KEY_LIFECYCLE_STATE)
    refused("a key that is not active does not encrypt", state, client.encrypt, b"text", key, parameters, iv)
    client.activate(key)
    text, made = client.encrypt(b"some text", key, parameters, iv)
    own = Cipher(algorithms.AES(value), modes.CBC(iv)).encryptor()
    check("CBC is right", text == own.update(b"some text" + b"\x07" * 7) + own.finalize())
    check("it decrypts", client.decrypt(text, key, parameters, iv) == b"some text")
    text, made = client.encrypt(b"some text", key, parameters)
    check("the server makes an IV", made is not None and client.decrypt(text, key, parameters, made) == b"some text")
    if version.value >= enums.KMIPVersion.KMIP_1_4.value:
        gcm = {"block_cipher_mode": Mode.GCM, "cryptographic_algorithm": Algorithm.AES, "tag_length": 16}
        with_tag = client.encrypt(b"some text", key, gcm, iv[:12])
        check("GCM encrypts", len(with_tag[0]) in (9, 25))
    code = cmac.CMAC(algorithms.AES(value))
    code.update(b"message")
    check("a CMAC is right", client.mac(b"message", key, Algorithm.AES)[1] == code.finalize())
    client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, key)
    check("a deactivated key still decrypts", client.decrypt(text, key, parameters, made) == b"some text")
    refused("but no longer encrypts", state, client.encrypt, b"text", key, parameters, iv)
    refused("nor without permission", denied(version, enums.ResultReason.INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK),
            client.sign, b"text", key, {"padding_method": enums.PaddingMethod.PKCS1v15})


def server(version):
    """Query and Discover Versions, which only the lower of PyKMIP's two clients has."""
    client = proxy(version)
    client.open()
    try:
        found = client.query(query_functions=[enums.QueryFunction.QUERY_OPERATIONS, enums.QueryFunction.QUERY_OBJECTS,
                                              enums.QueryFunction.QUERY_SERVER_INFORMATION])
        check("query names Create", enums.Operation.CREATE in found.operations, found.operations)
        check("query names symmetric keys", enums.ObjectType.SYMMETRIC_KEY in found.object_types)
        crypto = enums.Operation.ENCRYPT in found.operations
        check("query tells the truth about Encrypt", crypto == (version.value >= enums.KMIPVersion.KMIP_1_2.value))
        check("the vendor is mrhsm", "mrhsm" in found.vendor_identification)
        if version != enums.KMIPVersion.KMIP_1_0:
            versions = client.discover_versions()
            check("seven versions are spoken", len(versions.protocol_versions) == 7, versions.protocol_versions)
    finally:
        client.close()


for version in VERSIONS:
    before = dict(counts)
    for part in (keys, changes, registered, pairs, cryptography):
        try:
            with connect(version) as client:
                part(client, version)
        except Exception as failure:  # whatever a call of the library dies of
            check(f"{version.name}: {part.__doc__}", False, f"{type(failure).__name__}: {failure}")
    try:
        server(version)
    except Exception as failure:
        check(f"{version.name}: {server.__doc__}", False, f"{type(failure).__name__}: {failure}")
    print(f"{version.name}: {counts['passed'] - before['passed']} passed, {counts['failed'] - before['failed']} bad")
print(f"{counts['passed']} passed, {counts['failed']} failed")
sys.exit(counts["failed"] > 0)
