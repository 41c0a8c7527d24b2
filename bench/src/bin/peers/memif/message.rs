//! The messages of the control channel, 128 bytes each, little-endian and packed.

/// Every message's length.
pub const LEN: usize = 128;
/// Version 2.0.
pub const VERSION: u16 = 2 << 8;
const NAME: usize = 32;
const SECRET: usize = 24;
/// Flag of an added ring: from the client to the server.
const TO_SERVER: u16 = 1;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Yes.
    Ack,
    /// The server's limits.
    Hello {
        /// Oldest version it speaks.
        min_version: u16,
        /// Newest version it speaks.
        max_version: u16,
        /// Highest region number.
        max_region: u16,
        /// Highest ring number to the client.
        max_to_client: u16,
        /// Highest ring number to the server.
        max_to_server: u16,
        /// Longest ring, as a power of two.
        max_log2_slots: u8,
    },
    /// Which interface the client wants.
    Init {
        /// The version both will speak.
        version: u16,
        /// The interface.
        id: u32,
    },
    /// A piece of memory; its descriptor comes along.
    AddRegion {
        /// Its number.
        index: u16,
        /// Its bytes.
        size: u64,
    },
    /// A ring; its eventfd comes along.
    AddRing {
        /// From the client to the server.
        to_server: bool,
        /// Its number among those of its direction.
        index: u16,
        /// The region it lies in.
        region: u16,
        /// Where in that region.
        offset: u32,
        /// Its slots, as a power of two.
        log2_slots: u8,
    },
    /// All is added.
    Connect,
    /// All is mapped.
    Connected,
    /// The end, and why.
    Disconnect(String),
}

/// Writes fields one after the other.
struct Writer {
    bytes: [u8; LEN],
    at: usize,
}

impl Writer {
    fn put(mut self, field: &[u8]) -> Self {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
        self
    }

    fn name(self, name: &str, len: usize) -> Self {
        let mut field = vec![0; len];
        let n = name.len().min(len - 1);
        field[..n].copy_from_slice(&name.as_bytes()[..n]);
        self.put(&field)
    }
}

/// Reads fields one after the other; a message is longer than all its fields.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk::<N>().map_or(([0; N], &[][..]), |(f, r)| (*f, r));
        self.0 = rest;
        field
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
}

impl Message {
    /// As it goes over the socket.
    pub fn to_bytes(&self) -> [u8; LEN] {
        let w = |kind: u16| Writer { bytes: [0; LEN], at: 0 }.put(&kind.to_le_bytes());
        let done = match self {
            Message::Ack => w(1),
            Message::Hello {
                min_version,
                max_version,
                max_region,
                max_to_client,
                max_to_server,
                max_log2_slots,
            } => {
                let numbers = [min_version, max_version, max_region, max_to_client, max_to_server];
                let named = w(2).name("valecast-bench", NAME);
                numbers.iter().fold(named, |w, n| w.put(&n.to_le_bytes())).put(&[*max_log2_slots])
            }
            Message::Init { version, id } => w(3)
                .put(&version.to_le_bytes())
                .put(&id.to_le_bytes())
                .put(&[0])
                .put(&[0; SECRET])
                .name("valecast-bench", NAME),
            Message::AddRegion { index, size } => w(4).put(&index.to_le_bytes()).put(&size.to_le_bytes()),
            Message::AddRing { to_server, index, region, offset, log2_slots } => w(5)
                .put(&(if *to_server { TO_SERVER } else { 0 }).to_le_bytes())
                .put(&index.to_le_bytes())
                .put(&region.to_le_bytes())
                .put(&offset.to_le_bytes())
                .put(&[*log2_slots])
                .put(&[0; 2]),
            Message::Connect => w(6).name("bench", NAME),
            Message::Connected => w(7).name("bench", NAME),
            Message::Disconnect(why) => w(8).put(&[0; 4]).name(why, 96),
        };
        done.bytes
    }

    /// Out of what came over the socket.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() != LEN {
            return Err(format!("a memif message of {} bytes instead of {LEN}", bytes.len()));
        }
        let mut r = Reader(bytes);
        Ok(match r.u16() {
            1 => Message::Ack,
            2 => {
                r.take::<NAME>();
                Message::Hello {
                    min_version: r.u16(),
                    max_version: r.u16(),
                    max_region: r.u16(),
                    max_to_client: r.u16(),
                    max_to_server: r.u16(),
                    max_log2_slots: r.u8(),
                }
            }
            3 => Message::Init { version: r.u16(), id: r.u32() },
            4 => Message::AddRegion { index: r.u16(), size: u64::from_le_bytes(r.take()) },
            5 => Message::AddRing {
                to_server: r.u16() & TO_SERVER != 0,
                index: r.u16(),
                region: r.u16(),
                offset: r.u32(),
                log2_slots: r.u8(),
            },
            6 => Message::Connect,
            7 => Message::Connected,
            8 => {
                r.u32();
                let text: Vec<u8> = r.take::<96>().into_iter().take_while(|b| *b != 0).collect();
                Message::Disconnect(String::from_utf8_lossy(&text).into_owned())
            }
            kind => return Err(format!("a memif message of unknown type {kind}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_trip() {
        let hello = Message::Hello {
            min_version: VERSION,
            max_version: VERSION,
            max_region: 255,
            max_to_client: 1,
            max_to_server: 2,
            max_log2_slots: 14,
        };
        let ring =
            Message::AddRing { to_server: true, index: 1, region: 2, offset: 0x1234_5678, log2_slots: 10 };
        for m in [
            Message::Ack,
            hello,
            Message::Init { version: VERSION, id: 7 },
            Message::AddRegion { index: 3, size: 1 << 40 },
            ring,
            Message::Connect,
            Message::Connected,
            Message::Disconnect("ID not found".into()),
        ] {
            assert_eq!(Message::parse(&m.to_bytes()), Ok(m));
        }
    }

    #[test]
    fn fields_lie_where_the_protocol_has_them() {
        let b =
            Message::AddRing { to_server: true, index: 1, region: 2, offset: 0x1234_5678, log2_slots: 10 }
                .to_bytes();
        assert_eq!(b[..13], [5, 0, 1, 0, 1, 0, 2, 0, 0x78, 0x56, 0x34, 0x12, 10]);
        let b = Message::Init { version: VERSION, id: 7 }.to_bytes();
        assert_eq!(b[..9], [3, 0, 0, 2, 7, 0, 0, 0, 0]);
        assert_eq!(&b[33..41], b"valecast");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Message::parse(&[1, 0]).is_err());
        assert!(Message::parse(&[0xff; LEN]).is_err());
    }
}
