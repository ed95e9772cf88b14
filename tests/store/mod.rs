//! The store's side: what a store embeds, and `pd-lite serve`.

mod adapter_hints;
mod adapter_mirror;
mod adapter_order;
mod adapter_outage;
mod adapter_refusals;
mod adapter_slow;
mod adapting;
