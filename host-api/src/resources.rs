//! What a process has by number: sockets, timers, modules, configurations and the like.
//!
//! A number belongs to one process and one kind. Numbers count up from 0 and are never used again, so
//! one that was closed, forged or meant for another process finds nothing. All of it goes when the
//! process ends. Most processes have none: they carry one word.
//!
//! A new kind is one line in `kinds!` below.

use std::collections::HashMap;
use std::collections::hash_map::IntoValues;
use std::sync::Arc;

use crate::api::timer::Delayed;
use crate::bind::Fault;
use crate::config::ProcessConfig;
use crate::held::{self, RESOURCE_BYTES};
use crate::modules::Loaded;
use crate::net::{Addresses, Listener, Net, TcpStream, TlsListener, TlsStream, UdpSocket};
use crate::sql;

/// The resources of one process.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    tables: Option<Box<Tables>>,
    open: usize,
    /// What those take that take much, beyond what one counts for.
    heavy_bytes: usize,
    /// What the messages take that wait for their time.
    pub(crate) delayed_bytes: usize,
}

impl Drop for Resources {
    fn drop(&mut self) {
        held::sub(self.open * RESOURCE_BYTES);
    }
}

/// One kind of resource.
pub(crate) trait Kind: Sized {
    /// What a message calls it.
    const NAME: &'static str;
    /// What it takes beyond what a resource counts for, if that is much.
    fn heavy_bytes(&self) -> usize {
        0
    }
    fn table(tables: &Tables) -> &Table<Self>;
    fn table_mut(tables: &mut Tables) -> &mut Table<Self>;
}

/// The resources of one kind.
#[derive(Debug)]
pub(crate) struct Table<T> {
    entries: HashMap<u64, T>,
    next: u64,
    /// With so many it is time for `Resources::weed`.
    weed_at: usize,
    /// What is left of them after the process has ended.
    closing: Option<IntoValues<u64, T>>,
}

/// Fewer than this are not worth looking through. By feel.
const WEED_MIN: usize = 64;

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), next: 0, weed_at: WEED_MIN, closing: None }
    }
}

/// Defines the tables: `field: Type, "what a message calls it", what it takes if that is much;`
macro_rules! kinds {
    ($($field:ident: $kind:ty, $name:literal $(, $bytes:path)?;)*) => {
        /// All tables of a process.
        #[derive(Debug, Default)]
        pub(crate) struct Tables {
            $($field: Table<$kind>,)*
            /// What the current call on a socket is at.
            net: Net,
            /// What SQLite has taken for the process.
            sql: Option<Arc<sql::Meter>>,
        }

        impl Tables {
            /// Drops so many; how many that were.
            fn drop_some(&mut self, most: usize) -> usize {
                let mut dropped = 0;
                $(dropped += self.$field.drop_some(most - dropped);)*
                dropped
            }
        }

        $(impl Kind for $kind {
            const NAME: &'static str = $name;
            $(fn heavy_bytes(&self) -> usize {
                $bytes(self)
            })?
            fn table(tables: &Tables) -> &Table<Self> {
                &tables.$field
            }
            fn table_mut(tables: &mut Tables) -> &mut Table<Self> {
                &mut tables.$field
            }
        })*
    };
}

kinds! {
    configs: Arc<ProcessConfig>, "configuration", config_bytes;
    addresses: Addresses, "DNS iterator";
    tcp_listeners: Arc<Listener>, "TCP listener";
    tcp_streams: Arc<TcpStream>, "TCP stream";
    tls_listeners: Arc<TlsListener>, "TLS listener", TlsListener::bytes;
    tls_streams: Arc<TlsStream>, "TLS stream";
    udp_sockets: Arc<UdpSocket>, "UDP socket";
    modules: Arc<Loaded>, "module", Loaded::bytes;
    timers: Delayed, "timer";
    connections: sql::Connection, "SQLite connection";
    statements: sql::Statement, "SQLite statement";
}

fn config_bytes(config: &Arc<ProcessConfig>) -> usize {
    config.bytes()
}

impl<T> Table<T> {
    fn drop_some(&mut self, most: usize) -> usize {
        if self.closing.is_none() && !self.entries.is_empty() {
            self.closing = Some(std::mem::take(&mut self.entries).into_values());
        }
        self.closing.as_mut().map_or(0, |closing| closing.take(most).count())
    }
}

impl Resources {
    /// The process has ended: drops so many. Whether there may be more.
    pub(crate) fn drop_some(&mut self, most: usize) -> bool {
        let Some(tables) = &mut self.tables else { return false };
        let dropped = tables.drop_some(most);
        self.open -= dropped;
        held::sub(dropped * RESOURCE_BYTES);
        dropped == most
    }

    /// Gives a resource its number. `max` is the most that the process may have, of all kinds
    /// together.
    pub(crate) fn add<T: Kind>(&mut self, resource: T, max: usize) -> Result<u64, Fault> {
        if self.open >= max {
            return Err(Fault::new(format!(
                "the process holds {} resources, its limit; one more {} needs others closed",
                self.open,
                T::NAME
            )));
        }
        self.heavy_bytes += resource.heavy_bytes();
        let table = T::table_mut(self.tables.get_or_insert_default());
        let id = table.next;
        table.next += 1;
        table.entries.insert(id, resource);
        self.open += 1;
        held::add(RESOURCE_BYTES);
        Ok(id)
    }

    /// The resource with this number.
    pub(crate) fn get<T: Kind>(&self, id: u64) -> Result<&T, Fault> {
        let tables = self.tables.as_deref();
        tables.and_then(|tables| T::table(tables).entries.get(&id)).ok_or_else(|| unknown::<T>(id))
    }

    /// The same, to change it.
    pub(crate) fn get_mut<T: Kind>(&mut self, id: u64) -> Result<&mut T, Fault> {
        let tables = self.tables.as_deref_mut();
        tables
            .and_then(|tables| T::table_mut(tables).entries.get_mut(&id))
            .ok_or_else(|| unknown::<T>(id))
    }

    /// Changes a resource, and with it what it takes.
    pub(crate) fn change<T: Kind, R>(
        &mut self,
        id: u64,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, Fault> {
        let resource = self.get_mut::<T>(id)?;
        let before = resource.heavy_bytes();
        let result = change(resource);
        let after = resource.heavy_bytes();
        self.heavy_bytes = self.heavy_bytes + after - before;
        Ok(result)
    }

    /// Takes a resource away from the process.
    pub(crate) fn remove<T: Kind>(&mut self, id: u64) -> Result<T, Fault> {
        let tables = self.tables.as_deref_mut();
        let taken = tables.and_then(|tables| T::table_mut(tables).entries.remove(&id));
        let taken = taken.ok_or_else(|| unknown::<T>(id))?;
        self.open -= 1;
        self.heavy_bytes -= taken.heavy_bytes();
        held::sub(RESOURCE_BYTES);
        Ok(taken)
    }

    /// All of one kind, in no order.
    pub(crate) fn all<T: Kind + 'static>(&self) -> impl Iterator<Item = &T> {
        self.tables.iter().flat_map(|tables| T::table(tables).entries.values())
    }

    /// What the current call on a socket is at.
    pub(crate) fn net(&mut self) -> &mut Net {
        &mut self.tables.get_or_insert_default().net
    }

    /// Counts what SQLite takes for the process, which may be so many bytes.
    pub(crate) fn sql_meter(&mut self, max: usize) -> Arc<sql::Meter> {
        let sql = &mut self.tables.get_or_insert_default().sql;
        Arc::clone(sql.get_or_insert_with(|| Arc::new(sql::Meter::new(max))))
    }

    /// What the host holds for all this, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let beside = self.tables.as_ref().map_or(0, |tables| {
            let sql = tables.sql.as_ref().map_or(0, |meter| meter.used());
            sql + tables.net.pem.as_ref().map_or(0, |pem| pem.bytes())
        });
        self.open * RESOURCE_BYTES + self.heavy_bytes + self.delayed_bytes + beside
    }

    /// The current call is over.
    #[inline]
    pub(crate) fn end_wait(&mut self) {
        if let Some(tables) = &mut self.tables {
            tables.net.end_wait();
        }
    }

    /// How many of one kind there are.
    pub(crate) fn count<T: Kind>(&self) -> usize {
        self.tables.as_deref().map_or(0, |tables| T::table(tables).entries.len())
    }

    /// Whether so many more could be added.
    pub(crate) fn has_room_for(&self, more: usize, max: usize) -> bool {
        self.open.saturating_add(more) <= max
    }

    /// Now and then, takes away those of a kind that are over by themselves: when they are twice as
    /// many as were left the last time, so that it costs each of them a constant amount.
    pub(crate) fn weed<T: Kind>(&mut self, mut is_alive: impl FnMut(&T) -> bool) {
        let Some(tables) = self.tables.as_deref_mut() else { return };
        let table = T::table_mut(tables);
        let before = table.entries.len();
        if before >= table.weed_at {
            let heavy_bytes = &mut self.heavy_bytes;
            table.entries.retain(|_, resource| {
                let stays = is_alive(resource);
                if !stays {
                    *heavy_bytes -= resource.heavy_bytes();
                }
                stays
            });
            table.weed_at = (2 * table.entries.len()).max(WEED_MIN);
            let gone = before - table.entries.len();
            self.open -= gone;
            held::sub(gone * RESOURCE_BYTES);
        }
    }
}

#[cold]
fn unknown<T: Kind>(id: u64) -> Fault {
    Fault::new(format!("the process has no {} with id {id}", T::NAME))
}
