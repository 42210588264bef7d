//! Sources from elsewhere, over TLS: Apache with git's own program for HTTP is the other server, with a certificate of a
//! company's authority.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use hafen_base::SystemClock;

use super::*;

struct Server {
    home: tempfile::TempDir,
    process: Child,
    port: u16,
    commit: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends its children, whom a kill would leave.
        let pid = self.process.id().to_string();
        let _gone = Command::new("kill").arg(pid).status();
        let _status = self.process.wait();
    }
}

fn sh(folder: &Path, line: &str) -> String {
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

impl Server {
    /// One repository under `/git/`; under `/private/` for a password; `/plain/`, `/file/` and `/moved/` lead elsewhere.
    async fn start() -> Self {
        let home = tempfile::Builder::new().prefix("hafen-https-").tempdir().unwrap();
        // Apache gives up root, and its user reads the repository.
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let commit = sh(
            home.path(),
            "umask 022; for ca in company other; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $ca.key \
             -out $ca.pem -days 2 -subj \"/CN=$ca\" 2>/dev/null; done; \
             openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout host.key -out host.csr -subj /CN=git 2>/dev/null; \
             echo subjectAltName=DNS:localhost > names; \
             openssl x509 -req -in host.csr -CA company.pem -CAkey company.key -CAcreateserial -days 2 -extfile names -out host.pem 2>/dev/null; \
             echo \"deploy:$(openssl passwd -apr1 a-password)\" > users; mkdir repositories copies; \
             git init -q -b main work; cd work; git config user.email a@b; git config user.name a; echo hello > page; git add .; \
             git commit -qm one; git branch feature/x; git clone -q --bare . ../repositories/shop.git; git rev-parse HEAD",
        );
        let at = home.path().display();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect::<Vec<_>>()
        .concat();
        let config = format!(
            "ServerRoot {at}\nServerName localhost\nPidFile pid\nDefaultRuntimeDir {at}\nErrorLog error.log\n\
             Listen 127.0.0.1:{port}\nUser nobody\nGroup nogroup\n{modules}\
             SSLEngine on\nSSLCertificateFile host.pem\nSSLCertificateKeyFile host.key\n\
             SetEnv GIT_PROJECT_ROOT {at}/repositories\nSetEnv GIT_HTTP_EXPORT_ALL\n\
             SetEnv GIT_CONFIG_COUNT 1\nSetEnv GIT_CONFIG_KEY_0 safe.directory\nSetEnv GIT_CONFIG_VALUE_0 *\n\
             ScriptAlias /git/ /usr/lib/git-core/git-http-backend/\nScriptAlias /private/ /usr/lib/git-core/git-http-backend/\n\
             Redirect /plain/ http://localhost:{port}/git/\nRedirect /file/ file://{at}/repositories/\n\
             Redirect /moved/ https://localhost:{port}/git/\n\
             <Location /private/>\nAuthType Basic\nAuthName company\nAuthUserFile users\nRequire valid-user\n</Location>\n"
        );
        std::fs::write(home.path().join("config"), config).unwrap();
        let process = Command::new("/usr/sbin/apache2")
            .args(["-D", "FOREGROUND", "-f"])
            .arg(home.path().join("config"))
            .stdin(Stdio::null())
            // It ends its whole group.
            .process_group(0)
            .spawn()
            .expect("apt-get install apache2-bin");
        let server = Self { home, process, port, commit };
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not listen: {}", sh(server.home.path(), "cat error.log"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn at(&self, under: &str) -> AppSource {
        let url = format!("https://localhost:{}/{under}/shop.git", self.port);
        AppSource { repository: None, git: Some(url), branch: "main".into() }
    }

    fn git(&self) -> Git {
        Git::new(Arc::new(Nothing), self.path("copies"), Arc::new(SystemClock))
    }
}

struct Nothing;

#[async_trait]
impl Repositories for Nothing {
    async fn path(&self, _project: &str, _repository: &str) -> Result<PathBuf> {
        Err(Error::not_found("repository"))
    }
}

#[tokio::test]
async fn a_source_with_a_certificate_of_a_company() {
    let server = Server::start().await;
    let git = server.git().trusting(&server.path("company.pem")).unwrap();
    for (under, name) in [("git", None), ("git", Some("feature/x")), ("moved", None)] {
        let found = git.resolve("hello", &server.at(under), name).await;
        assert_eq!(found.unwrap(), server.commit, "{under} {name:?}");
    }
    let (mut file, _) =
        git.archive("hello", &server.at("git"), &server.commit, server.home.path()).await.unwrap();
    let mut tar = Vec::new();
    file.read_to_end(&mut tar).unwrap();
    let mut entries = tar::Archive::new(&tar[..]);
    let mut page = String::new();
    let mut entries = entries.entries().unwrap().map(std::result::Result::unwrap);
    let mut found = entries.find(|entry| entry.path_bytes().as_ref() == b"page").expect("the page");
    found.read_to_string(&mut page).unwrap();
    assert_eq!(page, "hello\n");

    // What is pushed later is found later.
    let second = sh(
        server.home.path(),
        "umask 022; cd work; echo again > page; git commit -qam two; git push -q ../repositories/shop.git main; git rev-parse HEAD",
    );
    assert_eq!(git.resolve("hello", &server.at("git"), None).await.unwrap(), second);
}

#[tokio::test]
async fn authorities_of_the_host_are_trusted_beside_the_own() {
    let server = Server::start().await;
    // The host knows the company, whatever else is named.
    sh(server.home.path(), "mkdir host; cp company.pem host; openssl rehash host");
    let mut git = server.git().trusting(&server.path("other.pem")).unwrap();
    git.host_roots = server.path("host");
    assert_eq!(git.resolve("hello", &server.at("git"), None).await.unwrap(), server.commit);
    for (name, wanted) in [("nothing.pem", "No such file"), ("users", "no certificate in PEM")] {
        let error = server.git().trusting(&server.path(name)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_trusted_private_or_elsewhere_is_refused_and_says_why() {
    let server = Server::start().await;
    let company = || server.git().trusting(&server.path("company.pem")).unwrap();
    let other = server.git().trusting(&server.path("other.pem")).unwrap();
    let by_address = AppSource {
        git: Some(format!("https://127.0.0.1:{}/git/shop.git", server.port)),
        ..server.at("git")
    };
    let unavailable = ErrorKind::Unavailable;
    for (git, source, kind, wanted) in [
        (server.git(), server.at("git"), unavailable, "`hafen serve --git-roots` names"),
        (other, server.at("git"), unavailable, "of an authority that this host knows"),
        // A certificate for another name.
        (company(), by_address, unavailable, "Its certificate must be valid"),
        (company(), server.at("plain"), unavailable, "only https is followed"),
        (company(), server.at("file"), unavailable, "only https is followed"),
        (company(), server.at("private"), ErrorKind::Invalid, "asks for a password"),
        (company(), server.at("nowhere"), unavailable, "not found"),
    ] {
        // It asks nobody, and waits for nobody.
        let told = tokio::time::timeout(Duration::from_secs(60), git.resolve("hello", &source, None)).await;
        let error = told.expect("an answer").unwrap_err();
        assert_eq!(error.kind(), kind, "{source:?}: {error}");
        let text = error.to_string();
        assert!(text.contains(wanted) && text.contains("https://"), "{source:?}: {text}");
    }
}
