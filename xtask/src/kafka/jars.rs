//! The broker's jars, fetched from Maven Central once.

use std::fs;
use std::path::PathBuf;

use super::home;
use crate::run::{Failed, apt_install, output, program};

/// The broker's version.
pub const VERSION: &str = "4.3.1";

/// The oldest Java that the broker runs on.
const JAVA_MIN: u32 = 17;

/// kafka-tools brings the console tools; the broker's logs need a binding, and 4.3's slf4j is 1.7.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>ordain</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>VERSION</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>VERSION</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.24.3</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
</dependencies></project>
"#;

/// Warnings to standard error, so that what a tool prints is all there is on its standard output.
const LOG4J: &str = "rootLogger.level=WARN
rootLogger.appenderRef.c.ref=C
appender.c.type=Console
appender.c.name=C
appender.c.target=SYSTEM_ERR
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %c %m%n
";

/// The folder of the jars.
pub fn folder() -> PathBuf {
    home().join("libs")
}

/// The log settings of brokers and tools.
pub fn log_settings() -> PathBuf {
    home().join("log4j2.properties")
}

/// Sees to it that Java and the jars are there. Two callers at a time: the second waits for the first.
///
/// # Errors
/// [`Failed`] with what to do if Java or Maven is missing and cannot be installed, or nothing can be fetched.
pub fn ready() -> Result<(), Failed> {
    let home = home();
    let cannot = |error: std::io::Error| Failed(format!("cannot write below {}: {error}", home.display()));
    fs::create_dir_all(&home).map_err(cannot)?;
    let lock = fs::File::create(home.join(".jars.lock")).map_err(cannot)?;
    lock.lock().map_err(cannot)?;
    java()?;
    // Written each time, because it costs nothing and an older version's would stay otherwise.
    fs::write(log_settings(), LOG4J).map_err(cannot)?;
    let whole = folder().join(format!("kafka_2.13-{VERSION}.jar")).is_file();
    if whole { Ok(()) } else { fetch() }
}

fn java() -> Result<(), Failed> {
    if java_version().is_some_and(|version| version >= JAVA_MIN) {
        return Ok(());
    }
    println!("set-up: Apache Kafka needs Java {JAVA_MIN} or newer");
    apt_install(&["openjdk-17-jre-headless"]).map_err(|Failed(why)| {
        Failed(format!(
            "there is no Java {JAVA_MIN} or newer, and it could not be installed ({why}): install a JRE (Debian: \
             openjdk-17-jre-headless) so that `java -version` works, or use compose.yaml where there is Docker"
        ))
    })
}

/// The number in `java --version`, as in `openjdk 17.0.15 2025-04-15`.
fn java_version() -> Option<u32> {
    let said = output("java", &["--version"]).ok()?;
    said.split_whitespace().nth(1)?.split(['.', '-', '+']).next()?.parse().ok()
}

/// Maven copies into a folder beside, which then takes the name: a fetch that was cut off leaves no half of the jars.
fn fetch() -> Result<(), Failed> {
    if output("mvn", &["--version"]).is_err() {
        println!("set-up: Apache Kafka's jars are fetched by Maven");
        apt_install(&["maven"]).map_err(|Failed(why)| {
            Failed(format!(
                "there is no Maven, and it could not be installed ({why}): install it (Debian: maven) so that \
                 `mvn --version` works, or use compose.yaml where there is Docker"
            ))
        })?;
    }
    println!("fetching Apache Kafka {VERSION} from Maven Central into target/kafka/libs; only the first time");
    let home = home();
    let (pom, draft) = (home.join("pom.xml"), home.join("libs.draft"));
    let cannot = |error: std::io::Error| Failed(format!("cannot write below {}: {error}", home.display()));
    for old in [folder(), draft.clone()] {
        if old.exists() {
            fs::remove_dir_all(&old).map_err(cannot)?;
        }
    }
    fs::write(&pom, POM.replace("VERSION", VERSION)).map_err(cannot)?;
    let (pom, out) = (pom.to_string_lossy(), format!("-DoutputDirectory={}", draft.display()));
    let args = ["-q", "-B", "-f", &pom, "dependency:copy-dependencies", &out, "-DincludeScope=runtime"];
    program("mvn", &args).map_err(|Failed(why)| {
        Failed(format!("Apache Kafka {VERSION} could not be fetched from Maven Central ({why}): is it reachable?"))
    })?;
    fs::rename(&draft, folder()).map_err(cannot)
}
