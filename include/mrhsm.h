/*
 * mrhsm.h: what libmrhsm_pkcs11.so knows beyond PKCS#11.
 *
 * Include it after the standard's headers (pkcs11.h of PKCS#11 2.40 or 3.0). All attributes here are read-only: a token
 * reports them in C_GetAttributeValue and finds by them in C_FindObjectsInit; a template that sets one is refused with
 * CKR_ATTRIBUTE_READ_ONLY. An object that its store knows no such fact about answers CKR_ATTRIBUTE_TYPE_INVALID.
 */
#ifndef MRHSM_H
#define MRHSM_H 1

/* Unique Identifier of the object on the KMIP server. Text, not NUL-terminated; not always a UUID. */
#define CKA_MRHSM_UID (CKA_VENDOR_DEFINED | 0x4d520001UL)

/* State of a key on the KMIP server: a CK_ULONG, one of CK_MRHSM_STATE_*. */
#define CKA_MRHSM_STATE (CKA_VENDOR_DEFINED | 0x4d520002UL)

/* Initial Date: when the object was made. A CK_ULONG, seconds since 1970-01-01T00:00:00Z; so are the next two. */
#define CKA_MRHSM_INITIAL_DATE (CKA_VENDOR_DEFINED | 0x4d520003UL)

/* Activation Date: when the key became, or becomes, Active. */
#define CKA_MRHSM_ACTIVATION_DATE (CKA_VENDOR_DEFINED | 0x4d520004UL)

/* Deactivation Date: when the key stopped, or stops, being Active. */
#define CKA_MRHSM_DEACTIVATION_DATE (CKA_VENDOR_DEFINED | 0x4d520005UL)

/* Object Group: the first group that the object is in on the KMIP server. Text. */
#define CKA_MRHSM_GROUP (CKA_VENDOR_DEFINED | 0x4d520006UL)

/* Name: the first name of the object on the KMIP server. Text. */
#define CKA_MRHSM_NAME (CKA_VENDOR_DEFINED | 0x4d520007UL)

/*
 * The key was made by the KMIP server with an explicit CKA_EXTRACTABLE = CK_FALSE: it works there and nowhere else. A CK_BBOOL.
 * Whatever the server cannot do with it is refused; its value is never fetched.
 */
#define CKA_MRHSM_KEPT (CKA_VENDOR_DEFINED | 0x4d520008UL)

/*
 * The life of a key, in the numbers of KMIP. Encrypting, signing and wrapping need an Active key; decrypting, verifying and
 * unwrapping also work with a Deactivated or Compromised one.
 */
#define CK_MRHSM_STATE_PRE_ACTIVE 1UL
#define CK_MRHSM_STATE_ACTIVE 2UL
#define CK_MRHSM_STATE_DEACTIVATED 3UL
#define CK_MRHSM_STATE_COMPROMISED 4UL
#define CK_MRHSM_STATE_DESTROYED 5UL
#define CK_MRHSM_STATE_DESTROYED_COMPROMISED 6UL

#endif /* MRHSM_H */
