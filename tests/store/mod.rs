//! The store's side: what a store embeds, and `pd-lite serve`.

mod adapter_hints;
mod adapter_mirror;
mod adapter_order;
mod adapter_outage;
mod adapter_refusals;
mod adapter_slow;
mod adapting;
mod serve_cluster;
mod serve_crashes;
mod serve_regions;
mod serve_rules;
mod serving;
