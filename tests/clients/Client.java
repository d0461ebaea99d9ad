import java.io.FileInputStream;
import java.security.*;
import java.security.spec.*;
import java.util.*;
import javax.crypto.*;
import javax.crypto.spec.*;

/** One check by name, on the SunPKCS11 provider: java Client.java CONFIGURATION PIN CHECK. Silent when it holds. */
public class Client {
    static Provider provider;

    public static void main(String[] args) throws Exception {
        provider = Security.getProvider("SunPKCS11").configure(args[0]);
        Security.addProvider(provider);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, args[1].toCharArray());
        switch (args[2]) {
            case "list" -> System.out.println(String.join("\n", Collections.list(store.aliases())));
            case "aes-gcm" -> cipher("AES/GCM/NoPadding", new GCMParameterSpec(128, random(12)));
            case "aes-cbc" -> cipher("AES/CBC/PKCS5Padding", new IvParameterSpec(random(16)));
            case "aes-ctr" -> cipher("AES/CTR/NoPadding", new IvParameterSpec(random(16)));
            case "rsa" -> signature("RSA", new RSAKeyGenParameterSpec(2048, RSAKeyGenParameterSpec.F4), "SHA256withRSA");
            case "rsa-pss" -> signature("RSA", new RSAKeyGenParameterSpec(2048, RSAKeyGenParameterSpec.F4), "RSASSA-PSS");
            case "ecdsa-p256" -> signature("EC", new ECGenParameterSpec("secp256r1"), "SHA256withECDSA");
            case "ecdsa-p384" -> signature("EC", new ECGenParameterSpec("secp384r1"), "SHA384withECDSA");
            case "ecdsa-p521" -> signature("EC", new ECGenParameterSpec("secp521r1"), "SHA512withECDSA");
            case "ecdh" -> agreement();
            case "wrap" -> wrap();
            case "hmac" -> hmac();
            case "digest" -> digest();
            case "store-aes" -> storeAes(store, args[1].toCharArray());
            case "use-alias" -> useAlias(store, args[3], args[1].toCharArray());
            default -> throw new IllegalArgumentException(args[2]);
        }
    }

    static byte[] random(int length) {
        byte[] bytes = new byte[length];
        new SecureRandom().nextBytes(bytes);
        return bytes;
    }

    static void equal(byte[] a, byte[] b) {
        if (!Arrays.equals(a, b)) throw new AssertionError("not the same bytes");
    }

    static void cipher(String transformation, AlgorithmParameterSpec parameters) throws Exception {
        KeyGenerator generator = KeyGenerator.getInstance("AES", provider);
        generator.init(256);
        SecretKey key = generator.generateKey();
        byte[] plain = random(100_000);
        Cipher cipher = Cipher.getInstance(transformation, provider);
        cipher.init(Cipher.ENCRYPT_MODE, key, parameters);
        byte[] secret = cipher.doFinal(plain);
        cipher.init(Cipher.DECRYPT_MODE, key, parameters);
        equal(plain, cipher.doFinal(secret));
    }

    /** Signed on the token, verified by Java's own provider. */
    static void signature(String algorithm, AlgorithmParameterSpec size, String scheme) throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance(algorithm, provider);
        generator.initialize(size);
        KeyPair pair = generator.generateKeyPair();
        byte[] message = random(1000);
        for (int i = 0; i < 5; i++) {
            Signature signer = Signature.getInstance(scheme, provider);
            Signature verifier = Signature.getInstance(scheme, algorithm.equals("RSA") ? "SunRsaSign" : "SunEC");
            Signature own = Signature.getInstance(scheme, provider);
            if (scheme.equals("RSASSA-PSS")) {
                var pss = new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1);
                signer.setParameter(pss);
                verifier.setParameter(pss);
                own.setParameter(pss);
            }
            signer.initSign(pair.getPrivate());
            signer.update(message);
            byte[] signature = signer.sign();
            PublicKey outside = KeyFactory.getInstance(algorithm).generatePublic(new X509EncodedKeySpec(pair.getPublic().getEncoded()));
            verifier.initVerify(outside);
            verifier.update(message);
            if (!verifier.verify(signature)) throw new AssertionError("Java does not verify the token's signature");
            own.initVerify(pair.getPublic());
            own.update(message);
            if (!own.verify(signature)) throw new AssertionError("the token does not verify its own signature");
        }
    }

    static void agreement() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", provider);
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        KeyPair a = generator.generateKeyPair(), b = generator.generateKeyPair();
        equal(secret(a.getPrivate(), b.getPublic()), secret(b.getPrivate(), a.getPublic()));
    }

    static byte[] secret(PrivateKey own, PublicKey other) throws Exception {
        KeyAgreement agreement = KeyAgreement.getInstance("ECDH", provider);
        agreement.init(own);
        agreement.doPhase(other, true);
        return agreement.generateSecret();
    }

    /** A key of Java's own, wrapped under a public key of the token: Java makes a session key of it without any attributes. */
    static void wrap() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA", provider);
        generator.initialize(2048);
        KeyPair pair = generator.generateKeyPair();
        byte[] value = random(32);
        Cipher cipher = Cipher.getInstance("RSA/ECB/PKCS1Padding", provider);
        cipher.init(Cipher.WRAP_MODE, pair.getPublic());
        byte[] wrapped = cipher.wrap(new SecretKeySpec(value, "AES"));
        cipher.init(Cipher.DECRYPT_MODE, pair.getPrivate());
        equal(value, cipher.doFinal(wrapped));
    }

    static void hmac() throws Exception {
        byte[] key = random(32), message = random(1000);
        Mac token = Mac.getInstance("HmacSHA256", provider), java = Mac.getInstance("HmacSHA256", "SunJCE");
        token.init(new SecretKeySpec(key, "HmacSHA256"));
        java.init(new SecretKeySpec(key, "HmacSHA256"));
        equal(java.doFinal(message), token.doFinal(message));
    }

    static void digest() throws Exception {
        byte[] message = random(1000);
        equal(MessageDigest.getInstance("SHA-256", "SUN").digest(message), MessageDigest.getInstance("SHA-256", provider).digest(message));
    }

    static void storeAes(KeyStore store, char[] pin) throws Exception {
        KeyGenerator generator = KeyGenerator.getInstance("AES", provider);
        generator.init(256);
        store.setKeyEntry("java-aes", generator.generateKey(), null, null);
        if (!store.isKeyEntry("java-aes")) throw new AssertionError("the key is not in the store");
    }

    static void useAlias(KeyStore store, String alias, char[] pin) throws Exception {
        Key key = store.getKey(alias, null);
        if (key == null) throw new AssertionError("no key named " + alias);
        Cipher cipher = Cipher.getInstance("AES/CBC/PKCS5Padding", provider);
        byte[] plain = random(1000), iv = random(16);
        cipher.init(Cipher.ENCRYPT_MODE, key, new IvParameterSpec(iv));
        byte[] secret = cipher.doFinal(plain);
        cipher.init(Cipher.DECRYPT_MODE, key, new IvParameterSpec(iv));
        equal(plain, cipher.doFinal(secret));
        // Java pads ECB by itself, and takes no more than a block in the end.
        cipher = Cipher.getInstance("AES/ECB/PKCS5Padding", provider);
        byte[] buffer = Arrays.copyOf(plain, 4000);
        cipher.init(Cipher.ENCRYPT_MODE, key);
        int length = cipher.doFinal(buffer, 0, plain.length, buffer, 0);
        cipher.init(Cipher.DECRYPT_MODE, key);
        equal(plain, Arrays.copyOf(buffer, cipher.doFinal(buffer, 0, length, buffer, 0)));
    }
}
