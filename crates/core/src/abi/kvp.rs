//! Messages of `/dev/hv_kvp_dev`.
