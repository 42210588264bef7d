//! The platform's own authority, for names that no public one issues for.

use std::time::Duration;

use hafen_base::{Error, Random, Result, Timestamp};
use hafen_db::{Db, store_error};
use hafen_seal::MasterKey;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use time::OffsetDateTime;

use super::{Issued, store};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Of the root; of what it issues.
const LONG: u32 = 3650;
const SHORT: u32 = 30;
const NAME: &str = "edge/authority";

pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

fn wrong(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal(error)
}

/// Clocks differ: good from an hour before.
fn validity(params: &mut CertificateParams, now: Timestamp, days: u32) -> Result<()> {
    let at = |time: Timestamp| OffsetDateTime::from_unix_timestamp(time.micros() / 1_000_000).map_err(wrong);
    params.not_before = at(Timestamp::from_micros(now.micros() - 3_600_000_000))?;
    params.not_after = at(now.plus(DAY * days))?;
    Ok(())
}

fn serial(random: &dyn Random) -> SerialNumber {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    // Positive, and of one length (RFC 5280, section 4.1.2.2).
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    SerialNumber::from_slice(&bytes)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

impl Authority {
    /// The authority of this database, made at the first start.
    ///
    /// # Errors
    /// As the database's; invalid when another master key sealed its key.
    pub async fn open(db: &Db, key: &MasterKey, random: &dyn Random, now: Timestamp) -> Result<Self> {
        if store::authority(db).await?.is_none() {
            let pair = KeyPair::generate().map_err(wrong)?;
            let mut bytes = [0; 4];
            random.fill(&mut bytes);
            let mut params = CertificateParams::default();
            params.distinguished_name = named(&format!("Hafen edge authority {}", super::hex(&bytes)));
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.serial_number = Some(serial(random));
            validity(&mut params, now, LONG)?;
            let certificate = params.self_signed(&pair).map_err(wrong)?.pem();
            let sealed = key.seal(NAME, pair.serialize_pem().as_bytes(), random)?;
            let mut tx = db.write().await?;
            // Whichever process comes first.
            store::authority_put(&mut tx, &certificate, &sealed).await?;
            tx.commit().await.map_err(store_error)?;
        }
        let (certificate, sealed) =
            store::authority(db).await?.ok_or_else(|| Error::internal("the authority is not there"))?;
        let opened = key.open(NAME, &sealed)?;
        let pair = KeyPair::from_pem(opened.expose_text()?).map_err(wrong)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, pair).map_err(wrong)?;
        Ok(Self { certificate, issuer })
    }

    /// The root, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues for one host.
    ///
    /// # Errors
    /// Internal.
    pub fn issue(&self, host: &str, now: Timestamp, random: &dyn Random) -> Result<Issued> {
        let pair = KeyPair::generate().map_err(wrong)?;
        let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(wrong)?;
        params.distinguished_name = DistinguishedName::new();
        // A common name has at most 64 characters (RFC 5280, appendix A.1); nothing reads it.
        if host.len() <= 64 {
            params.distinguished_name = named(host);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial(random));
        validity(&mut params, now, SHORT)?;
        let certificate = params.signed_by(&pair, &self.issuer).map_err(wrong)?;
        Ok(Issued { chain: certificate.pem(), key: pair.serialize_pem() })
    }
}

/// What is shown to an authority that checks a name (RFC 8737, section 3): certificate and key, in DER.
///
/// # Errors
/// Internal.
pub fn acme_tls(host: &str, digest: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    if digest.len() != 32 {
        return Err(Error::internal("a digest that is none"));
    }
    let pair = KeyPair::generate().map_err(wrong)?;
    let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(wrong)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&pair).map_err(wrong)?;
    Ok((certificate.der().to_vec(), pair.serialize_der()))
}
