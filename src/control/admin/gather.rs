//! Collects what large answers are made of, page by page, so that no step of the loop is long; renders them beside it.

use super::Call;
use super::Handle;
use super::answers::Answer;
use super::metrics::Gathered;
use super::protocol::BackendStatus;
use super::protocol::Backends;
use super::protocol::Fault;
use super::protocol::FaultKind;
use super::protocol::ServiceStatus;
use super::protocol::Services;
use crate::control::off_loop::ANSWERS;
use crate::model::BackendId;

/// A part of all services and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The configured services from this place on.
    Services(usize),
    /// The removed backends from this id on.
    Removed(BackendId),
}

/// Some services with their backends, or some removed backends.
#[derive(Debug)]
pub struct Page {
    /// In the order of the file.
    pub(super) services: Vec<ServiceStatus>,
    /// In the order of their services.
    pub(super) backends: Vec<BackendStatus>,
    /// The page after this one; `None` after the last one.
    pub(super) next: Option<Cursor>,
    /// [`Registry::loads`](crate::control::registry::Registry::loads): pages of another number do not fit.
    pub(super) loads: u64,
}

/// All pages.
#[derive(Debug, Default)]
struct Pages {
    services: Vec<ServiceStatus>,
    backends: Vec<BackendStatus>,
}

/// Attempts to collect all pages between two loads of a configuration.
const ATTEMPTS: usize = 5;

impl Handle {
    /// The metrics as text.
    pub(super) async fn metrics(&self) -> Result<Answer, Fault> {
        let render = || async {
            let overview = self.ask(Call::Overview).await?;
            let Pages { services, backends } = self.pages().await?;
            render(move || Ok(Gathered { overview: *overview, services, backends }.text().into_bytes())).await
        };
        self.archives.metrics.get(render).await
    }

    /// [`Services`] as JSON.
    pub(super) async fn services(&self) -> Result<Answer, Fault> {
        let render = || async {
            let services = self.pages().await?.services;
            render(move || serde_json::to_vec(&Services { services })).await
        };
        self.archives.services.get(render).await
    }

    /// [`Backends`] as JSON: all, or those of `service`.
    pub(super) async fn backends(&self, service: Option<String>) -> Result<Answer, Fault> {
        if service.is_some() {
            let backends = self.ask(|reply| Call::Backends(service, reply)).await??;
            return Ok(Answer::own(render(move || serde_json::to_vec(&backends)).await?, None));
        }
        let render = || async {
            let backends = self.pages().await?.backends;
            render(move || serde_json::to_vec(&Backends { backends })).await
        };
        self.archives.backends.get(render).await
    }

    async fn pages(&self) -> Result<Pages, Fault> {
        for _ in 0..ATTEMPTS {
            if let Some(pages) = self.pages_of_one_load().await? {
                return Ok(pages);
            }
        }
        let message = "the configuration changes all the time; try again".to_owned();
        Err(Fault { kind: FaultKind::Busy, message })
    }

    /// All pages; `None` if a configuration was loaded between two of them.
    async fn pages_of_one_load(&self) -> Result<Option<Pages>, Fault> {
        let mut all = Pages::default();
        let (mut cursor, mut loads) = (Some(Cursor::Services(0)), None);
        while let Some(from) = cursor {
            let page = self.ask(|reply| Call::Page(from, reply)).await?;
            if *loads.get_or_insert(page.loads) != page.loads {
                return Ok(None);
            }
            all.services.extend(page.services);
            all.backends.extend(page.backends);
            cursor = page.next;
        }
        Ok(Some(all))
    }
}

/// What `text` returns, made on a thread beside the loop.
pub(super) async fn render(
    text: impl FnOnce() -> serde_json::Result<Vec<u8>> + Send + 'static,
) -> Result<Vec<u8>, Fault> {
    let busy = |error: String| Fault { kind: FaultKind::Busy, message: format!("no answer: {error}") };
    let rendered = ANSWERS.run(text).await.map_err(|error| busy(error.to_string()))?;
    rendered.map_err(|error| busy(error.to_string()))
}
