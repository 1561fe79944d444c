//! A listener that demands TLS and a password, so that a client can prove it has both. Java's own keytool makes an
//! authority and the brokers' key; nothing of it is secret, it all dies with the cluster.

use std::fs;
use std::path::{Path, PathBuf};

use super::plan::Ports;
use crate::run::{Failed, output};

/// The users of the secure listener: a host's first, then whoever may do everything, and those that the commands of
/// `ordain topics create --print` name.
const USERS: [&str; 4] = ["ordain", "admin", "sender", "reader"];
/// Their password, and that of the key stores: the same everywhere, for it guards a test's broker on the loopback interface.
const PASSWORD: &str = "not-a-secret";
/// Settings of a broker that grants nothing to anybody but `admin` and, without a password, to who reaches its other
/// listeners.
pub const AUTHORIZER: [(&str, &str); 3] = [
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("allow.everyone.if.no.acl.found", "false"),
    ("super.users", "User:ANONYMOUS;User:admin"),
];

/// What a client needs for the secure listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secure {
    /// Where it is, for `bootstrap.servers`.
    pub bootstrap: String,
    /// The authority's certificate, PEM.
    pub ca: PathBuf,
    /// The user, for `SCRAM-SHA-512` and `PLAIN` alike.
    pub user: String,
    /// A file with the password and nothing else.
    pub password_file: PathBuf,
    /// Properties for Kafka's own tools (`--command-config`), as that user.
    pub client_properties: PathBuf,
}

impl Secure {
    /// The secure listener of a cluster that has one.
    pub fn of(folder: &Path, bootstrap: String) -> Self {
        let folder = folder_in(folder);
        Self {
            bootstrap,
            ca: folder.join("ca.pem"),
            user: USERS[0].to_owned(),
            password_file: folder.join("password"),
            client_properties: properties_of(&folder, USERS[0]),
        }
    }

    /// Properties for Kafka's own tools as another user: `admin`, `sender`, `reader`.
    pub fn properties_of(&self, user: &str) -> PathBuf {
        properties_of(self.client_properties.parent().unwrap_or(Path::new("")), user)
    }
}

/// Where a cluster keeps what its secure listener needs; without the folder it has no such listener.
pub fn folder_in(cluster: &Path) -> PathBuf {
    cluster.join("secure")
}

fn properties_of(folder: &Path, user: &str) -> PathBuf {
    folder.join(format!("{user}.properties"))
}

/// What `StorageTool format` needs to make the users.
pub fn scram() -> impl Iterator<Item = String> {
    USERS.iter().map(|user| format!("SCRAM-SHA-512=[name={user},password={PASSWORD}]"))
}

/// The broker's properties for the listener.
pub fn properties(folder: &Path, mut set: impl FnMut(&str, &str)) {
    let store = folder_in(folder).join("broker.p12");
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule";
    let mut of_listener = |key: &str, value: &str| set(&format!("listener.name.secure.{key}"), value);
    of_listener("sasl.enabled.mechanisms", "SCRAM-SHA-512,PLAIN");
    of_listener("plain.sasl.jaas.config", &format!("{plain} required user_{}=\"{PASSWORD}\";", USERS[0]));
    of_listener("scram-sha-512.sasl.jaas.config", &format!("{scram} required;"));
    of_listener("ssl.keystore.location", &store.to_string_lossy());
    of_listener("ssl.keystore.password", PASSWORD);
    of_listener("ssl.key.password", PASSWORD);
    of_listener("ssl.keystore.type", "PKCS12");
}

/// Makes authority, key and client files, unless they are there.
///
/// # Errors
/// [`Failed`] if keytool is missing or nothing can be written.
pub fn make(folder: &Path, nodes: &[Ports]) -> Result<(), Failed> {
    let at = Secure::of(folder, String::new());
    if nodes.is_empty() || at.client_properties.exists() {
        return Ok(());
    }
    let folder = folder_in(folder);
    let cannot = |error| Failed(format!("cannot write below {}: {error}", folder.display()));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(cannot)?;
    }
    fs::create_dir_all(&folder).map_err(cannot)?;
    let store = folder.join("broker.p12");
    let (store, ca) = (store.to_string_lossy(), at.ca.to_string_lossy());
    let keytool = |words: &[&str]| {
        let mut args = words.to_vec();
        args.extend(["-keystore", &store, "-storetype", "PKCS12", "-storepass", PASSWORD]);
        output("keytool", &args).map_err(|Failed(why)| Failed(format!("{why}: keytool is part of every Java")))
    };
    let pair = ["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "3650"];
    let authority =
        ["-alias", "ca", "-dname", "CN=ordain test authority", "-ext", "bc:c=ca:true", "-ext", "ku=keyCertSign"];
    keytool(&[&pair[..], &authority].concat())?;
    keytool(&["-exportcert", "-rfc", "-alias", "ca", "-file", &ca])?;
    let broker =
        ["-alias", "broker", "-signer", "ca", "-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1,dns:localhost"];
    keytool(&[&pair[..], &broker].concat())?;
    // The brokers' store must hold one key only, or they might show the authority's.
    keytool(&["-delete", "-alias", "ca"])?;
    fs::write(&at.password_file, PASSWORD).map_err(cannot)?;
    let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
    // The first user's come last: they say that everything is there.
    for user in USERS.iter().rev() {
        let client = format!(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n\
             sasl.jaas.config={module} required username=\"{user}\" password=\"{PASSWORD}\";\n\
             ssl.truststore.type=PEM\nssl.truststore.location={ca}\n"
        );
        fs::write(properties_of(&folder, user), client).map_err(cannot)?;
    }
    Ok(())
}
