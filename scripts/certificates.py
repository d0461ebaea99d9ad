"""Makes the certificates for a test: python certificates.py FOLDER

ca.pem                             the certificate authority both sides trust
server.pem, server.key             localhost, 127.0.0.1 and ::1 (ECDSA: PyKMIP offers rustls nothing for RSA)
client.pem, client.key             a client with an EC key, PKCS#8
client-sec1.key                    the same key, SEC1 ("EC PRIVATE KEY")
client-encrypted.key               the same key, PKCS#8 under the passphrase "passphrase"
client.p12                         the same key and certificate, PKCS#12 under the passphrase "passphrase"
client-rsa.pem, client-rsa.key     the same client with an RSA key, PKCS#8
client-rsa-pkcs1.key               that key, PKCS#1 ("RSA PRIVATE KEY")
other-ca.pem                       an authority that signed none of these
other.pem, other.key               a client of that authority
expired.pem, expired.key           a client whose certificate expired yesterday
"""

import datetime
import ipaddress
import os
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, pkcs12)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PASSPHRASE = BestAvailableEncryption(b"passphrase")
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mrhsm test"),
                      x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def certificate(subject, key, issuer, issuer_key, extensions, until=NOW + 365 * DAY):
    builder = (x509.CertificateBuilder()
               .subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
               .serial_number(x509.random_serial_number())
               .not_valid_before(until - 366 * DAY).not_valid_after(until)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
               .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def authority(subject):
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                          key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False)
    return key, certificate(subject, key, subject, key, [(x509.BasicConstraints(ca=True, path_length=0), True), (usage, True)])


def leaf(purpose, *names):
    extensions = [(x509.BasicConstraints(ca=False, path_length=None), True), (x509.ExtendedKeyUsage([purpose]), False)]
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    return extensions


def write(folder, file, data):
    """Keys are for their owner only; everything here is made new, so the mode holds from the first byte."""
    mode = 0o644 if file.endswith(".pem") else 0o600
    with open(os.open(os.path.join(folder, file), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(data)


def write_key(folder, file, key, form=PrivateFormat.PKCS8, encryption=NoEncryption()):
    write(folder, file, key.private_bytes(Encoding.PEM, form, encryption))


def write_certificate(folder, file, cert):
    write(folder, file, cert.public_bytes(Encoding.PEM))


def main(folder):
    os.makedirs(folder, mode=0o700, exist_ok=True)
    client_usage = leaf(ExtendedKeyUsageOID.CLIENT_AUTH)
    ca_key, ca = authority("Test CA")
    write_certificate(folder, "ca.pem", ca)

    server_usage = leaf(ExtendedKeyUsageOID.SERVER_AUTH, x509.DNSName("localhost"),
                        x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.IPAddress(ipaddress.ip_address("::1")))
    key = ec.generate_private_key(ec.SECP256R1())
    write_certificate(folder, "server.pem", certificate("localhost", key, "Test CA", ca_key, server_usage))
    write_key(folder, "server.key", key)

    key = ec.generate_private_key(ec.SECP256R1())
    cert = certificate("kmipclient", key, "Test CA", ca_key, client_usage)
    write_certificate(folder, "client.pem", cert)
    write_key(folder, "client.key", key)
    write_key(folder, "client-sec1.key", key, PrivateFormat.TraditionalOpenSSL)
    write_key(folder, "client-encrypted.key", key, encryption=PASSPHRASE)
    write(folder, "client.p12", pkcs12.serialize_key_and_certificates(b"kmipclient", key, cert, [ca], PASSPHRASE))

    key = rsa.generate_private_key(65537, 2048)
    write_certificate(folder, "client-rsa.pem", certificate("kmipclient", key, "Test CA", ca_key, client_usage))
    write_key(folder, "client-rsa.key", key)
    write_key(folder, "client-rsa-pkcs1.key", key, PrivateFormat.TraditionalOpenSSL)

    other_key, other = authority("Other CA")
    write_certificate(folder, "other-ca.pem", other)
    key = ec.generate_private_key(ec.SECP256R1())
    write_certificate(folder, "other.pem", certificate("kmipclient", key, "Other CA", other_key, client_usage))
    write_key(folder, "other.key", key)

    key = ec.generate_private_key(ec.SECP256R1())
    write_certificate(folder, "expired.pem", certificate("kmipclient", key, "Test CA", ca_key, client_usage, until=NOW - DAY))
    write_key(folder, "expired.key", key)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
