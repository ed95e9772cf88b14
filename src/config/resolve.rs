//! Which value counts for whom: the host's or the one inside docker, which falls back to the host's where it is blank.

use super::{Pd, RaftConfig, Store};

/// Where the process runs that a value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Host,
    Docker,
}

impl Scope {
    /// Reads `host` or `docker`, in any letter case and with blanks around it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "host" => Some(Self::Host),
            "docker" => Some(Self::Docker),
            _ => None,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Docker => "docker",
        }
    }

    /// The value for this scope, without blanks around it; empty: there is none.
    fn pick<'a>(self, host: &'a str, docker: &'a str) -> &'a str {
        match self {
            Self::Host => host.trim(),
            Self::Docker => first_not_blank([docker, host]),
        }
    }
}

/// The first value that is not blank, without blanks around it; empty when there is none.
#[must_use]
pub fn first_not_blank<'a>(values: impl IntoIterator<Item = &'a str>) -> &'a str {
    values.into_iter().map(str::trim).find(|value| !value.is_empty()).unwrap_or_default()
}

impl Pd {
    /// The address; empty: there is none.
    #[must_use]
    pub fn addr(&self, scope: Scope) -> &str {
        scope.pick(&self.addr, &self.docker_addr)
    }

    /// The workdir; empty: there is none.
    #[must_use]
    pub fn work_dir(&self, scope: Scope) -> &str {
        scope.pick(&self.work_dir, &self.docker_work_dir)
    }
}

impl Store {
    /// The address at which others find it; empty: there is none.
    #[must_use]
    pub fn addr(&self, scope: Scope) -> &str {
        scope.pick(&self.addr, &self.docker_addr)
    }

    /// The address that it listens on; empty: there is none.
    #[must_use]
    pub fn listen_addr(&self, scope: Scope) -> &str {
        let on_host = first_not_blank([self.listen_addr.as_str(), &self.addr]);
        scope.pick(on_host, &self.docker_listen_addr)
    }
}

impl RaftConfig {
    /// The workdir of a store: its own, else the template's; empty: there is none.
    #[must_use]
    pub fn store_work_dir(&self, store: &Store, scope: Scope) -> String {
        let own = scope.pick(&store.work_dir, &store.docker_work_dir);
        if own.is_empty() {
            let template = scope.pick(&self.store_work_dir_template, &self.store_docker_work_dir_template);
            return template.replace("{id}", &store.store_id.to_string());
        }
        own.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_falls_back_to_the_host_and_never_the_other_way() {
        let pd = Pd { addr: " a ".into(), docker_addr: " ".into(), docker_work_dir: " d ".into(), ..Pd::default() };
        assert_eq!((pd.addr(Scope::Host), pd.addr(Scope::Docker)), ("a", "a"));
        assert_eq!((pd.work_dir(Scope::Host), pd.work_dir(Scope::Docker)), ("", "d"));
    }

    #[test]
    fn a_store_listens_where_it_is_told_to_and_else_where_it_is_found() {
        let store = |listen: &str, docker_listen: &str| Store {
            addr: " a ".into(),
            listen_addr: listen.into(),
            docker_listen_addr: docker_listen.into(),
            ..Store::default()
        };
        for (store, host, docker) in [
            (store("", ""), "a", "a"),
            (store("l", ""), "l", "l"),
            (store(" ", "d"), "a", "d"),
            (store("l", "d"), "l", "d"),
        ] {
            assert_eq!((store.listen_addr(Scope::Host), store.listen_addr(Scope::Docker)), (host, docker));
            assert_eq!(store.addr(Scope::Docker), "a");
        }
    }

    #[test]
    fn a_store_s_own_workdir_beats_both_templates() {
        let config = RaftConfig {
            store_work_dir_template: "h{id}/{id}".into(),
            store_docker_work_dir_template: "d{id}".into(),
            ..RaftConfig::default()
        };
        let store = |work_dir: &str, docker_work_dir: &str| Store {
            store_id: 7,
            work_dir: work_dir.into(),
            docker_work_dir: docker_work_dir.into(),
            ..Store::default()
        };
        for (store, host, docker) in [
            (store("", ""), "h7/7", "d7"),
            (store("w", ""), "w", "w"),
            (store("", "x"), "h7/7", "x"),
            (store("w", "x"), "w", "x"),
        ] {
            assert_eq!(config.store_work_dir(&store, Scope::Host), host);
            assert_eq!(config.store_work_dir(&store, Scope::Docker), docker);
        }
        let bare = RaftConfig { store_docker_work_dir_template: String::new(), ..config };
        assert_eq!(bare.store_work_dir(&store("", ""), Scope::Docker), "h7/7");
    }

    #[test]
    fn a_scope_is_read_in_any_letter_case() {
        assert_eq!(Scope::parse(" Docker "), Some(Scope::Docker));
        assert_eq!(Scope::parse("HOST"), Some(Scope::Host));
        assert_eq!(Scope::parse(""), None);
        assert_eq!(Scope::parse("cloud"), None);
    }
}
