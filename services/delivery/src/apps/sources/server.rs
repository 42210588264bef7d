//! For tests: another server. Apache with git's own program for HTTP, with a certificate of a company's authority, and a host
//! beside it that writes down what it is sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::Mutex;

use hafen_base::SystemClock;
use hafen_client::wire::SecretReference;
use zeroize::Zeroizing;

use super::*;

/// What opens `/private/`, for the user `git`.
pub const TOKEN: &str = "canary+token/of=the.company";
pub const SECRET: &str = "shop-source";

pub struct Server {
    pub home: tempfile::TempDir,
    process: Child,
    pub port: u16,
    /// Of the host beside it, which is `127.0.0.1`.
    pub beside: u16,
    pub commit: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends its children, whom a kill would leave.
        let pid = self.process.id().to_string();
        let _gone = Command::new("kill").arg(pid).status();
        let _status = self.process.wait();
    }
}

pub fn sh(folder: &Path, line: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("HOME", folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn elsewhere(url: String) -> AppSource {
    AppSource { repository: None, git: Some(url), branch: "main".into(), token: None, username: None }
}

pub fn with_token(source: AppSource) -> AppSource {
    AppSource { token: Some(SecretReference { secret: SECRET.into() }), ..source }
}

pub fn of(source: &AppSource) -> SourceOf<'_> {
    SourceOf { project: "hello", app: "shop", source }
}

/// Secrets in memory, and the readings of them with who read.
#[derive(Default)]
pub struct Safe {
    pub values: Mutex<BTreeMap<String, Vec<u8>>>,
    pub readings: Mutex<Vec<String>>,
}

impl Safe {
    pub fn with(value: &[u8]) -> Arc<Self> {
        let this = Self::default();
        this.set(value);
        Arc::new(this)
    }

    pub fn set(&self, value: &[u8]) {
        self.values.lock().unwrap().insert(SECRET.to_owned(), value.to_vec());
    }
}

#[async_trait]
impl Vault for Safe {
    async fn read(
        &self,
        project: &str,
        secret: &str,
        version: Option<i64>,
        reason: &str,
    ) -> Result<Zeroizing<Vec<u8>>> {
        assert_eq!((project, version), ("hello", None), "the current one");
        let by = hafen_base::Actor::current().id;
        self.readings.lock().unwrap().push(format!("{by} {secret}: {reason}"));
        let value = self.values.lock().unwrap().get(secret).cloned();
        value.map(Zeroizing::new).ok_or_else(|| Error::not_found(format!("secret {secret:?}")))
    }

    async fn version(&self, _project: &str, _secret: &str) -> Result<i64> {
        Ok(1)
    }
}

/// Says all that it was sent, as somebody might who wants it in a message.
const ECHO: &str = "#!/bin/sh\nprintf 'Status: 500\\r\\nContent-Type: text/plain\\r\\n\\r\\nyou sent %s which is %s\\n' \
                    \"$HTTP_AUTHORIZATION\" \"$(echo \"${HTTP_AUTHORIZATION#Basic }\" | base64 -d)\"\n";

struct Nothing;

#[async_trait]
impl Repositories for Nothing {
    async fn path(&self, _project: &str, _repository: &str) -> Result<PathBuf> {
        Err(Error::not_found("repository"))
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// One repository under `/git/`. Under `/private/` for a password, under `/slow/` for one and after a while, under `/echo/` for one that
    /// is said again. `/plain/`,
    /// `/file/` and `/moved/` lead elsewhere, `/renamed/` to `/private/`; `/beside/` to the host beside it, `/closed/` to what is
    /// private there, `/halved/` to what turns out to be, and `/walled/` there once it was opened.
    pub async fn start() -> Self {
        let home = tempfile::Builder::new().prefix("hafen-https-").tempdir().unwrap();
        // Apache gives up root, and its user reads the repository.
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(home.path().join("cgi")).unwrap();
        std::fs::write(home.path().join("cgi/echo"), ECHO).unwrap();
        // Not by an argument: a test looks whether one has it.
        std::fs::write(home.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let commit = sh(
            home.path(),
            "umask 022; for ca in company other; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $ca.key \
                 -out $ca.pem -days 2 -subj \"/CN=$ca\" 2>/dev/null; done; \
                 certify() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.csr -subj /CN=git 2>/dev/null; \
                 echo subjectAltName=$2 > names; \
                 openssl x509 -req -in $1.csr -CA company.pem -CAkey company.key -CAcreateserial -days 2 -extfile names -out $1.pem 2>/dev/null; }; \
                 certify host DNS:localhost,DNS:git.company.test; certify beside IP:127.0.0.1; \
                 echo \"deploy:$(openssl passwd -apr1 a-password)\" > users; echo \"git:$(openssl passwd -apr1 -in token)\" >> users; rm token; \
                 mkdir repositories copies; printf '#!/bin/sh\\nsleep 2\\nexec /usr/lib/git-core/git-http-backend\\n' > cgi/slow; chmod 755 cgi/slow cgi/echo; \
                 git init -q -b main work; cd work; git config user.email a@b; git config user.name a; echo hello > page; git add .; \
                 git commit -qm one; git branch feature/x; git clone -q --bare . ../repositories/shop.git; git rev-parse HEAD",
        );
        let (port, beside) = (free_port(), free_port());
        std::fs::write(home.path().join("config"), config(home.path(), port, beside)).unwrap();
        let process = Command::new("/usr/sbin/apache2")
            .args(["-D", "FOREGROUND", "-f"])
            .arg(home.path().join("config"))
            .stdin(Stdio::null())
            // It ends its whole group.
            .process_group(0)
            .spawn()
            .expect("apt-get install apache2-bin");
        let server = Self { home, process, port, beside, commit };
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not listen: {}", sh(server.home.path(), "cat error.log"));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn at(&self, under: &str) -> AppSource {
        elsewhere(format!("https://localhost:{}/{under}/shop.git", self.port))
    }

    pub fn private(&self) -> AppSource {
        with_token(self.at("private"))
    }

    pub fn git(&self) -> Git {
        self.git_with(Arc::new(Safe::default()))
    }

    /// One that has not heard of any proxy, whatever the tests are started with.
    pub fn git_with(&self, vault: Arc<Safe>) -> Git {
        let mut git = Git::new(Arc::new(Nothing), vault, self.path("copies"), Arc::new(SystemClock));
        git.proxy = Proxy::default();
        git
    }

    /// As `git_with`, and it trusts the company.
    pub fn company(&self, vault: &Arc<Safe>) -> Git {
        self.git_with(Arc::clone(vault)).trusting(&self.path("company.pem")).unwrap()
    }

    /// What a host was sent: lines of user, status, path and header, as soon as there is one with this.
    pub async fn log(&self, name: &str, wanted: &str) -> Vec<String> {
        let mut text = String::new();
        for _ in 0..600 {
            text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            if text.contains(wanted) {
                return text.lines().map(str::to_owned).collect();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{name} has no {wanted:?}: {text}");
    }
}

fn config(home: &Path, port: u16, beside: u16) -> String {
    let at = home.display();
    let modules = [
        "mpm_prefork",
        "alias",
        "env",
        "cgi",
        "ssl",
        "authz_core",
        "authn_core",
        "auth_basic",
        "authn_file",
        "authz_user",
    ]
    .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
    .concat();
    let backend = "/usr/lib/git-core/git-http-backend/";
    let closed = |path: &str, more: &str| {
        format!(
            "<Location /{path}/>\nAuthType Basic\nAuthName company\nAuthUserFile users\nRequire valid-user\n{more}</Location>\n"
        )
    };
    let (private, slow) = (closed("private", ""), closed("slow", ""));
    let echo = closed("echo", "CGIPassAuth On\n");
    // What there is may be seen, and is not given out.
    let half = format!(
        "ScriptAlias /half/ {backend}\n<Location /half/>\nAuthType Basic\nAuthName company\nAuthUserFile users\n\
         <Limit POST>\nRequire valid-user\n</Limit>\n</Location>\nRedirect /halved/ https://127.0.0.1:{beside}/half/\n"
    );
    let walled = closed("walled", &format!("Redirect /walled/ https://127.0.0.1:{beside}/git/\n"));
    format!(
        "ServerRoot {at}\nServerName localhost\nPidFile pid\nDefaultRuntimeDir {at}\nErrorLog error.log\n\
         Listen 127.0.0.1:{port}\nListen 127.0.0.1:{beside}\nUser nobody\nGroup nogroup\n{modules}\
         SetEnv GIT_PROJECT_ROOT {at}/repositories\nSetEnv GIT_HTTP_EXPORT_ALL\n\
         SetEnv GIT_CONFIG_COUNT 1\nSetEnv GIT_CONFIG_KEY_0 safe.directory\nSetEnv GIT_CONFIG_VALUE_0 *\n\
         ScriptAlias /git/ {backend}\nScriptAlias /private/ {backend}\nScriptAlias /slow/ {at}/cgi/slow/\nScriptAlias /echo/ {at}/cgi/echo/\n\
         {private}{half}\
         <VirtualHost 127.0.0.1:{port}>\nSSLEngine on\nSSLCertificateFile host.pem\nSSLCertificateKeyFile host.key\n\
         CustomLog host.log \"%u %>s %U\"\n\
         Redirect /plain/ http://localhost:{port}/git/\nRedirect /file/ file://{at}/repositories/\n\
         Redirect /moved/ https://localhost:{port}/git/\nRedirect /renamed/ https://localhost:{port}/private/\n\
         Redirect /beside/ https://127.0.0.1:{beside}/git/\nRedirect /closed/ https://127.0.0.1:{beside}/private/\n\
         {walled}{slow}{echo}</VirtualHost>\n\
         <VirtualHost 127.0.0.1:{beside}>\nSSLEngine on\nSSLCertificateFile beside.pem\nSSLCertificateKeyFile beside.key\n\
         CustomLog beside.log \"%u %>s %U [%{{Authorization}}i]\"\n</VirtualHost>\n"
    )
}
