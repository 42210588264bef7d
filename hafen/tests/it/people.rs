//! People who set themselves up and sign in, over HTTP.

use serde_json::{Value, json};

use crate::http::send_body;
use crate::platform::{Platform, text};

pub const PASSWORD: &str = "a harbour of many ships";

/// Somebody who accepted an invitation.
pub struct Someone {
    /// As the header has it: `Bearer …`.
    pub bearer: String,
    pub token: String,
    pub recovery_codes: Vec<String>,
}

/// Sends JSON, expects success.
pub fn call(platform: &Platform, bearer: Option<&str>, method: &str, path: &str, body: &Value) -> Value {
    let path = format!("/api/v1{path}");
    let (head, answer) = send_body(platform, method, &path, bearer, &body.to_string());
    assert!(head.starts_with("HTTP/1.1 20"), "{method} {path} {body}: {head} {answer}");
    serde_json::from_str(&answer).unwrap_or_default()
}

/// Accepts an invitation with a password and one-time codes.
pub fn accept(platform: &Platform, invitation: &str, login: &str) -> Someone {
    let begun = call(platform, None, "POST", "/invitations/begin", &json!({ "token": invitation.trim() }));
    let body = json!({
        "ceremony": begun["ceremony"], "login": login, "name": "Somebody", "password": PASSWORD,
        "totp": totp(begun["totp_secret"].as_str().unwrap()),
    });
    let accepted = call(platform, None, "POST", "/invitations/accept", &body);
    let token = accepted["session"]["token"].as_str().unwrap().to_owned();
    let codes = accepted["recovery_codes"].as_array().unwrap();
    let recovery_codes = codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    Someone { bearer: format!("Bearer {token}"), token, recovery_codes }
}

/// The first owner, by the invitation in the home.
pub fn first_owner(platform: &Platform) -> Someone {
    let invitation = std::fs::read_to_string(platform.home.path().join("invitation")).unwrap();
    accept(platform, &invitation, "olga")
}

/// RFC 6238, as an authenticator app that this project did not write.
pub fn totp(secret: &str) -> String {
    let program = "import base64,hashlib,hmac,struct,sys,time
k=base64.b32decode(sys.argv[1]+'='*(-len(sys.argv[1])%8))
h=hmac.new(k,struct.pack('>Q',int(time.time())//30),hashlib.sha1).digest()
print('%06d'%((struct.unpack('>I',h[h[19]&15:][:4])[0]&0x7fffffff)%1000000))";
    let output = std::process::Command::new("python3").args(["-c", program, secret]).output().unwrap();
    text(&output.stdout).trim().to_owned()
}
