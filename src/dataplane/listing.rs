//! Listing flows for control, a page at a time.

use super::flow::Tick;
use super::pipeline::Pipeline;
use crate::shared::FlowPage;

/// Places of the flow table looked at for a listing per turn: about 10 us.
const LISTING_BUDGET: usize = 256;

/// The bit of a listing's cursor that says that the IPv4 table is done.
const V6_CURSOR: u64 = 1 << 63;

impl Pipeline {
    /// Fills a page: IPv4 flows first, then IPv6, by place in the table.
    pub(super) fn list_flows(&self, page: &mut FlowPage, now: Tick) {
        let flows = &self.flows;
        let places = LISTING_BUDGET.min(page.records.capacity());
        page.records.clear();
        let cursor = usize::try_from(page.cursor & !V6_CURSOR).unwrap_or(usize::MAX);
        let mut add = |record| {
            if page.filter.matches(&record) {
                page.records.push(record);
            }
        };
        if page.cursor & V6_CURSOR == 0 {
            if let Some(entries) = flows.v4.scan(cursor, places) {
                entries.for_each(|entry| add(flows.v4.record(entry, now)));
                page.cursor += places as u64;
            } else {
                page.cursor = V6_CURSOR;
            }
        } else if let Some(entries) = flows.v6.scan(cursor, places) {
            entries.for_each(|entry| add(flows.v6.record(entry, now)));
            page.cursor += places as u64;
        } else {
            page.done = true;
        }
    }
}
