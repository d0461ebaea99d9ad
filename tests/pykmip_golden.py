"""Prints KMIP messages that PyKMIP's own encoder made, one per line: a name, a blank, the bytes in hexadecimal.

`cargo run --example replay-vectors -- FILE` decodes them with our types and encodes them again: the bytes must be the same.
Needs PyKMIP 0.11.0. A payload that PyKMIP refuses to write in a version becomes a comment that says so.
"""

from kmip.core import attributes as a
from kmip.core import enums as e
from kmip.core import exceptions, misc, objects, primitives, secrets, utils
from kmip.core.factories.attributes import AttributeFactory
from kmip.core.messages import contents, messages, payloads as p

VERSIONS = {
    "1.0": e.KMIPVersion.KMIP_1_0,
    "1.1": e.KMIPVersion.KMIP_1_1,
    "1.2": e.KMIPVersion.KMIP_1_2,
    "1.3": e.KMIPVersion.KMIP_1_3,
    "1.4": e.KMIPVersion.KMIP_1_4,
    "2.0": e.KMIPVersion.KMIP_2_0,
}

FACTORY = AttributeFactory()
A = e.AttributeType


def uid(value="42"):
    return a.UniqueIdentifier(value)


def name(text):
    return a.Name.create(text, e.NameType.UNINTERPRETED_TEXT_STRING)


def attributes(version):
    made = [
        FACTORY.create_attribute(A.CRYPTOGRAPHIC_ALGORITHM, e.CryptographicAlgorithm.AES),
        FACTORY.create_attribute(A.CRYPTOGRAPHIC_LENGTH, 256),
        FACTORY.create_attribute(A.CRYPTOGRAPHIC_USAGE_MASK, [e.CryptographicUsageMask.ENCRYPT, e.CryptographicUsageMask.DECRYPT]),
        FACTORY.create_attribute(A.NAME, name("key one")),
        FACTORY.create_attribute(A.OBJECT_GROUP, "mrhsm:demo"),
        FACTORY.create_attribute(
            A.APPLICATION_SPECIFIC_INFORMATION,
            {"application_namespace": "pkcs11.id", "application_data": "0011aabb"},
        ),
        FACTORY.create_attribute(A.ACTIVATION_DATE, 1700000000),
        FACTORY.create_attribute(A.STATE, e.State.ACTIVE),
    ]
    if version < "2.0":
        # PyKMIP cannot write these as 2.0 attributes, or 2.0 has no index.
        made.append(FACTORY.create_attribute(A.NAME, name("key one again"), 1))
        made.append(FACTORY.create_attribute(A.OPERATION_POLICY_NAME, "default"))
        made.append(FACTORY.create_attribute(A.CUSTOM_ATTRIBUTE, "text"))
        made[-1].attribute_name = objects.Attribute.AttributeName("x-label")
    if version >= "1.4":
        made.append(FACTORY.create_attribute(A.SENSITIVE, True))
        made.append(FACTORY.create_attribute(A.EXTRACTABLE, False))
    return made


def template(version, tag=e.Tags.TEMPLATE_ATTRIBUTE):
    return objects.TemplateAttribute(attributes=attributes(version), tag=tag)


def typed(version):
    return objects.convert_template_attribute_to_attributes(template(version))


def cbc():
    return a.CryptographicParameters(
        block_cipher_mode=e.BlockCipherMode.CBC,
        padding_method=e.PaddingMethod.PKCS5,
        cryptographic_algorithm=e.CryptographicAlgorithm.AES,
    )


def every_parameter():
    return a.CryptographicParameters(
        block_cipher_mode=e.BlockCipherMode.GCM,
        padding_method=e.PaddingMethod.NONE,
        hashing_algorithm=e.HashingAlgorithm.SHA_256,
        key_role_type=e.KeyRoleType.KEK,
        digital_signature_algorithm=e.DigitalSignatureAlgorithm.SHA256_WITH_RSA_ENCRYPTION,
        cryptographic_algorithm=e.CryptographicAlgorithm.RSA,
        random_iv=True,
        iv_length=96,
        tag_length=16,
        fixed_field_length=32,
        invocation_field_length=64,
        counter_length=0,
        initial_counter_value=1,
    )


def wrapping(version):
    information = objects.EncryptionKeyInformation(
        unique_identifier="7",
        cryptographic_parameters=a.CryptographicParameters(block_cipher_mode=e.BlockCipherMode.NIST_KEY_WRAP),
    )
    option = {} if version == "1.0" else {"encoding_option": e.EncodingOption.NO_ENCODING}
    return information, option


def key_block(fmt, material, algorithm=None, length=None, wrapped=None):
    return objects.KeyBlock(
        misc.KeyFormatType(fmt),
        None,
        objects.KeyValue(objects.KeyMaterial(material)),
        algorithm and a.CryptographicAlgorithm(algorithm),
        length and a.CryptographicLength(length),
        wrapped,
    )


def managed_objects(version):
    information, option = wrapping(version)
    wrapped = objects.KeyWrappingData(
        wrapping_method=e.WrappingMethod.ENCRYPT, encryption_key_information=information, iv_counter_nonce=b"\1" * 8, **option
    )
    aes, rsa = e.CryptographicAlgorithm.AES, e.CryptographicAlgorithm.RSA
    return {
        e.ObjectType.SYMMETRIC_KEY: secrets.SymmetricKey(key_block(e.KeyFormatType.RAW, b"k" * 32, aes, 256)),
        e.ObjectType.PUBLIC_KEY: secrets.PublicKey(key_block(e.KeyFormatType.PKCS_1, b"p" * 270, rsa, 2048)),
        e.ObjectType.PRIVATE_KEY: secrets.PrivateKey(key_block(e.KeyFormatType.PKCS_8, b"s" * 1217, rsa, 2048)),
        e.ObjectType.CERTIFICATE: secrets.Certificate(e.CertificateType.X_509, b"c" * 33),
        e.ObjectType.SECRET_DATA: secrets.SecretData(
            secrets.SecretData.SecretDataType(e.SecretDataType.PASSWORD), key_block(e.KeyFormatType.OPAQUE, b"hunter2")
        ),
        e.ObjectType.OPAQUE_DATA: secrets.OpaqueObject(
            secrets.OpaqueObject.OpaqueDataType(e.OpaqueDataType.NONE), secrets.OpaqueObject.OpaqueDataValue(b"o" * 5)
        ),
        e.ObjectType.SPLIT_KEY: secrets.SplitKey(
            split_key_parts=3,
            key_part_identifier=1,
            split_key_threshold=2,
            split_key_method=e.SplitKeyMethod.POLYNOMIAL_SHARING_PRIME_FIELD,
            prime_field_size=104729,
            key_block=key_block(e.KeyFormatType.RAW, b"k" * 16, aes, 128),
        ),
        "WRAPPED": secrets.SymmetricKey(key_block(e.KeyFormatType.RAW, b"w" * 40, aes, 256, wrapped)),
    }


def requests(version):
    """(operation, name, payload) of every request PyKMIP can write."""
    op = e.Operation
    private, public, common = (
        e.Tags.PRIVATE_KEY_TEMPLATE_ATTRIBUTE,
        e.Tags.PUBLIC_KEY_TEMPLATE_ATTRIBUTE,
        e.Tags.COMMON_TEMPLATE_ATTRIBUTE,
    )
    information, option = wrapping(version)
    mask = e.CryptographicUsageMask.ENCRYPT.value
    yield op.CREATE, "", p.CreateRequestPayload(e.ObjectType.SYMMETRIC_KEY, template(version))
    yield (
        op.CREATE_KEY_PAIR,
        "",
        p.CreateKeyPairRequestPayload(template(version, common), template(version, private), template(version, public)),
    )
    for kind, managed in managed_objects(version).items():
        wrapped = kind == "WRAPPED"
        kind = e.ObjectType.SYMMETRIC_KEY if wrapped else kind
        suffix = kind.name.lower() + ("-wrapped" if wrapped else "")
        yield op.REGISTER, suffix, p.RegisterRequestPayload(kind, template(version), managed)
    yield (
        op.DERIVE_KEY,
        "",
        p.DeriveKeyRequestPayload(
            e.ObjectType.SYMMETRIC_KEY,
            ["1", "2"],
            e.DerivationMethod.PBKDF2,
            a.DerivationParameters(
                cryptographic_parameters=a.CryptographicParameters(hashing_algorithm=e.HashingAlgorithm.SHA_256),
                initialization_vector=b"\2" * 16,
                derivation_data=b"derive",
                salt=b"salt",
                iteration_count=4096,
            ),
            template(version),
        ),
    )
    yield op.REKEY, "", p.RekeyRequestPayload("42", 10, template(version) if version < "2.0" else None)
    if version < "2.0":
        yield (
            op.REKEY_KEY_PAIR,
            "",
            p.RekeyKeyPairRequestPayload(
                a.PrivateKeyUniqueIdentifier("42"),
                misc.Offset(10),
                objects.CommonTemplateAttribute(attributes=attributes(version)),
                objects.PrivateKeyTemplateAttribute(attributes=attributes(version)),
                objects.PublicKeyTemplateAttribute(attributes=attributes(version)),
            ),
        )
    yield (
        op.LOCATE,
        "",
        p.LocateRequestPayload(
            16,
            None if version < "1.3" else 2,
            1,
            None if version < "1.1" else e.ObjectGroupMember.GROUP_MEMBER_DEFAULT,
            attributes(version),
        ),
    )
    if version < "2.0":
        # 2.0 wants an Attributes structure even when it is empty; PyKMIP leaves it out.
        yield op.LOCATE, "all", p.LocateRequestPayload()
    yield op.CHECK, "", p.CheckRequestPayload("42", 5, mask, 60)
    yield op.GET, "", p.GetRequestPayload("42", e.KeyFormatType.RAW)
    yield (
        op.GET,
        "wrapped",
        p.GetRequestPayload(
            "42",
            e.KeyFormatType.RAW,
            None,
            objects.KeyWrappingSpecification(
                wrapping_method=e.WrappingMethod.ENCRYPT, encryption_key_information=information, attribute_names=["Name"], **option
            ),
        ),
    )
    yield op.GET_ATTRIBUTES, "", p.GetAttributesRequestPayload("42", ["State", "Name", "X.509 Certificate Issuer"])
    yield op.GET_ATTRIBUTE_LIST, "", p.GetAttributeListRequestPayload("42")
    if version < "2.0":
        one = FACTORY.create_attribute(A.NAME, name("new"), 1)
        yield op.MODIFY_ATTRIBUTE, "", p.ModifyAttributeRequestPayload("42", attribute=one)
        yield op.DELETE_ATTRIBUTE, "", p.DeleteAttributeRequestPayload("42", attribute_name="Name", attribute_index=1)
    else:
        old, new = (objects.CurrentAttribute(name("old")), objects.NewAttribute(name("new")))
        yield op.MODIFY_ATTRIBUTE, "", p.ModifyAttributeRequestPayload("42", current_attribute=old, new_attribute=new)
        yield op.DELETE_ATTRIBUTE, "", p.DeleteAttributeRequestPayload("42", current_attribute=old)
        sensitive = primitives.Boolean(True, e.Tags.SENSITIVE)
        yield op.SET_ATTRIBUTE, "", p.SetAttributeRequestPayload("42", objects.NewAttribute(sensitive))
    yield op.OBTAIN_LEASE, "", p.ObtainLeaseRequestPayload("42")
    yield op.GET_USAGE_ALLOCATION, "", p.GetUsageAllocationRequestPayload("42", 5)
    yield op.ACTIVATE, "", p.ActivateRequestPayload(uid())
    yield (
        op.REVOKE,
        "",
        p.RevokeRequestPayload(
            uid(),
            objects.RevocationReason(e.RevocationReasonCode.KEY_COMPROMISE, "seen in a log"),
            primitives.DateTime(1700000000, e.Tags.COMPROMISE_OCCURRENCE_DATE),
        ),
    )
    yield op.DESTROY, "", p.DestroyRequestPayload(uid())
    yield op.ARCHIVE, "", p.ArchiveRequestPayload("42")
    yield op.RECOVER, "", p.RecoverRequestPayload("42")
    yield op.CANCEL, "", p.CancelRequestPayload(b"\x0a\x0b")
    yield op.POLL, "", p.PollRequestPayload(b"\x0a\x0b")
    yield op.QUERY, "", p.QueryRequestPayload([e.QueryFunction.QUERY_OPERATIONS, e.QueryFunction.QUERY_OBJECTS])
    yield (
        op.DISCOVER_VERSIONS,
        "",
        p.DiscoverVersionsRequestPayload([contents.ProtocolVersion(2, 0), contents.ProtocolVersion(1, 4)]),
    )
    aad = b"header" if version >= "1.4" else None
    tag = b"t" * 16 if version >= "1.4" else None
    cp = cbc() if version >= "1.2" else None
    yield op.ENCRYPT, "", p.EncryptRequestPayload("42", cp, b"plain text", b"\3" * 16, aad)
    yield op.ENCRYPT, "parameters", p.EncryptRequestPayload("42", every_parameter() if cp else None, b"plain text")
    yield op.DECRYPT, "", p.DecryptRequestPayload("42", cp, b"cipher text", b"\3" * 16, aad, tag)
    yield op.SIGN, "", p.SignRequestPayload("42", cp, b"message")
    yield (
        op.SIGNATURE_VERIFY,
        "",
        p.SignatureVerifyRequestPayload("42", cp, b"message", None, b"signature"),
    )
    yield op.MAC, "", p.MACRequestPayload(uid(), cp, objects.Data(b"message"))


def responses(version):
    """(operation, name, payload) of every response PyKMIP can write."""
    op = e.Operation
    old = version < "2.0"
    yield op.CREATE, "", p.CreateResponsePayload(e.ObjectType.SYMMETRIC_KEY, "42", template(version) if old else None)
    yield op.CREATE_KEY_PAIR, "", p.CreateKeyPairResponsePayload("42", "43")
    yield op.REGISTER, "", p.RegisterResponsePayload("42", template(version) if old else None)
    yield op.DERIVE_KEY, "", p.DeriveKeyResponsePayload("42")
    yield op.REKEY, "", p.RekeyResponsePayload("43")
    yield op.LOCATE, "", p.LocateResponsePayload(None if version < "1.3" else 2, ["42", "43"])
    yield op.CHECK, "", p.CheckResponsePayload("42", 5, e.CryptographicUsageMask.ENCRYPT.value, 60)
    for kind, managed in managed_objects(version).items():
        wrapped = kind == "WRAPPED"
        kind = e.ObjectType.SYMMETRIC_KEY if wrapped else kind
        suffix = kind.name.lower() + ("-wrapped" if wrapped else "")
        yield op.GET, suffix, p.GetResponsePayload(kind, "42", managed)
    yield op.GET_ATTRIBUTES, "", p.GetAttributesResponsePayload("42", attributes(version))
    yield op.GET_ATTRIBUTE_LIST, "", p.GetAttributeListResponsePayload("42", ["State", "Name"])
    if old:
        one = FACTORY.create_attribute(A.NAME, name("new"), 1)
        yield op.MODIFY_ATTRIBUTE, "", p.ModifyAttributeResponsePayload("42", one)
        yield op.DELETE_ATTRIBUTE, "", p.DeleteAttributeResponsePayload("42", one)
    else:
        yield op.MODIFY_ATTRIBUTE, "", p.ModifyAttributeResponsePayload("42")
        yield op.DELETE_ATTRIBUTE, "", p.DeleteAttributeResponsePayload("42")
        yield op.SET_ATTRIBUTE, "", p.SetAttributeResponsePayload("42")
    yield op.OBTAIN_LEASE, "", p.ObtainLeaseResponsePayload("42", 60, 1700000000)
    yield op.GET_USAGE_ALLOCATION, "", p.GetUsageAllocationResponsePayload("42")
    yield op.ACTIVATE, "", p.ActivateResponsePayload(uid())
    yield op.REVOKE, "", p.RevokeResponsePayload(uid())
    yield op.DESTROY, "", p.DestroyResponsePayload(uid())
    yield op.ARCHIVE, "", p.ArchiveResponsePayload("42")
    yield op.RECOVER, "", p.RecoverResponsePayload("42")
    yield op.CANCEL, "", p.CancelResponsePayload(b"\x0a\x0b", e.CancellationResult.CANCELED)
    yield (
        op.QUERY,
        "",
        p.QueryResponsePayload(
            operations=[e.Operation.CREATE, e.Operation.GET],
            object_types=[e.ObjectType.SYMMETRIC_KEY, e.ObjectType.CERTIFICATE],
            vendor_identification="vendor",
            server_information=misc.ServerInformation(),
            application_namespaces=["one", "two"],
            extension_information=None
            if version < "1.1"
            else [
                objects.ExtensionInformation(
                    objects.ExtensionName("ours"), objects.ExtensionTag(0x540001), objects.ExtensionType(7)
                )
            ],
            attestation_types=None if version < "1.2" else [e.AttestationType.TPM_QUOTE],
            rng_parameters=None if version < "1.3" else [objects.RNGParameters(rng_algorithm=e.RNGAlgorithm.DRBG)],
            profile_information=None
            if version < "1.3"
            else [objects.ProfileInformation(e.ProfileName.BASELINE_SERVER_BASIC_KMIPv12, "https://example.com", 5696)],
            capability_information=None
            if version < "1.3"
            else [objects.CapabilityInformation(streaming_capability=True, unwrap_mode=e.UnwrapMode.PROCESSED)],
            client_registration_methods=None if version < "1.3" else [e.ClientRegistrationMethod.CLIENT_REGISTERED],
        ),
    )
    yield op.DISCOVER_VERSIONS, "", p.DiscoverVersionsResponsePayload([contents.ProtocolVersion(1, 4)])
    yield op.ENCRYPT, "", p.EncryptResponsePayload("42", b"cipher text", b"\3" * 16, b"t" * 16 if version >= "1.4" else None)
    yield op.DECRYPT, "", p.DecryptResponsePayload("42", b"plain text")
    yield op.SIGN, "", p.SignResponsePayload("42", b"signature")
    yield op.SIGNATURE_VERIFY, "", p.SignatureVerifyResponsePayload("42", e.ValidityIndicator.VALID)
    yield op.MAC, "", p.MACResponsePayload(uid(), objects.MACData(b"m" * 32))


def hexadecimal(message, version):
    stream = utils.BytearrayStream()
    message.write(stream, VERSIONS[version])
    return stream.read().hex()


def request(version, operation, payload):
    password = objects.Credential(
        e.CredentialType.USERNAME_AND_PASSWORD, objects.UsernamePasswordCredential("alice", "secret")
    )
    major, minor = version.split(".")
    return messages.RequestMessage(
        messages.RequestHeader(
            protocol_version=contents.ProtocolVersion(int(major), int(minor)),
            maximum_response_size=contents.MaximumResponseSize(65536),
            authentication=contents.Authentication([password]),
            batch_order_option=contents.BatchOrderOption(True),
            batch_count=contents.BatchCount(1),
        ),
        [messages.RequestBatchItem(contents.Operation(operation), contents.UniqueBatchItemID(b"\1"), payload)],
    )


def response(version, operation, payload):
    major, minor = version.split(".")
    return messages.ResponseMessage(
        messages.ResponseHeader(
            contents.ProtocolVersion(int(major), int(minor)), contents.TimeStamp(1700000000), contents.BatchCount(1)
        ),
        [
            messages.ResponseBatchItem(
                operation=contents.Operation(operation),
                unique_batch_item_id=contents.UniqueBatchItemID(b"\1"),
                result_status=contents.ResultStatus(e.ResultStatus.SUCCESS),
                response_payload=payload,
            )
        ],
    )


def failure(version):
    major, minor = version.split(".")
    return messages.ResponseMessage(
        messages.ResponseHeader(
            contents.ProtocolVersion(int(major), int(minor)), contents.TimeStamp(1700000000), contents.BatchCount(1)
        ),
        [
            messages.ResponseBatchItem(
                result_status=contents.ResultStatus(e.ResultStatus.OPERATION_FAILED),
                result_reason=contents.ResultReason(e.ResultReason.INVALID_MESSAGE),
                result_message=contents.ResultMessage("Error parsing request message."),
            )
        ],
    )


def main():
    for version in VERSIONS:
        for kind, made, around in (("request", requests, request), ("response", responses, response)):
            for operation, suffix, payload in made(version):
                label = "-".join(part for part in (version, kind, operation.name.lower(), suffix) if part)
                try:
                    print(label, hexadecimal(around(version, operation, payload), version))
                except exceptions.VersionNotSupported as refused:
                    print(f"# {label}: {refused}")
        print(f"{version}-failure", hexadecimal(failure(version), version))


if __name__ == "__main__":
    main()
