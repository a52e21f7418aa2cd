//! Scripts.

use std::fs;
use std::path::Path;
use std::time::Duration;

use evenkeel::config::ProbeKind;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::Prober;
use evenkeel::control::health::Question;

use super::ask;
use super::impatient;
use super::kernel_support::eventually_async;
use super::question;

fn script(command: &[&str]) -> Question {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let target = "[2001:db8::1]:8080".parse().expect("an address");
    Question { service: Some("web".into()), ..question(target, ProbeKind::Script { command }) }
}

fn shell(line: &str) -> Question {
    script(&["/bin/sh", "-c", line])
}

#[tokio::test]
async fn a_script_is_judged_by_how_it_ends() {
    for (line, expected) in [
        ("exit 0", Ok(())),
        ("exit 3", Err(ProbeFailure::Exit(3))),
        ("kill -9 $$", Err(ProbeFailure::Killed(9))),
        (
            r#"test "$EVENKEEL_SERVICE $EVENKEEL_BACKEND_ADDRESS $EVENKEEL_BACKEND_PORT" = "web 2001:db8::1 8080""#,
            Ok(()),
        ),
        ("read line && exit 0; exit 4", Err(ProbeFailure::Exit(4))),
    ] {
        assert_eq!(ask(shell(line)).await, expected, "{line}");
    }
    assert_eq!(ask(script(&["/bin/test", "a b", "=", "a b"])).await, Ok(()), "arguments are not split");
    assert_eq!(ask(impatient(shell("sleep 1000"))).await, Err(ProbeFailure::Timeout));
}

#[tokio::test]
async fn a_script_that_cannot_run_says_nothing_about_the_backend() {
    let error = Prober::default().ask(&script(&["/no/such/script"])).await.unwrap_err();
    assert!(error.to_string().starts_with("/no/such/script: No such file"), "{error}");
}

/// Whether the process runs: neither gone nor waiting to be reaped.
fn runs(id: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id).join("stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).is_some_and(|state| state != 'Z')
}

#[tokio::test]
async fn a_script_that_is_given_up_ends_with_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ids");
    let line = format!("sleep 1000 & echo $$ $! > {0}.new; mv {0}.new {0}; wait", file.display());
    let question = Question { timeout: Duration::from_secs(1000), ..shell(&line) };
    let asking = tokio::spawn(async move { ask(question).await });
    let ids = eventually_async("the script runs", || fs::read_to_string(&file).ok()).await;
    let ids: Vec<_> = ids.split_whitespace().collect();
    assert!(ids.iter().all(|id| runs(id)), "{ids:?}");
    // As when its time is over or its backend removed: nobody waits for it any more.
    asking.abort();
    eventually_async("both are gone", || ids.iter().all(|id| !runs(id)).then_some(())).await;
}
