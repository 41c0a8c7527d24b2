//! Ethernet addresses of trees.
//!
//! A tree's number is in each address that its frames bear, so switches match whole addresses, and one site may be the
//! receiver of several trees that come to it by different ways. All are locally administered (IEEE 802c):
//!
//! ```text
//! 03:TT:TT:TT:00:00   the tree: from the sender to all receivers
//! 02:TT:TT:TT:00:00   its sender: reports
//! 02:TT:TT:TT:RR:RR   its receiver RRRR, from 1: repairs to it alone
//! ```

use valecast_config::Mac;

/// Trees have numbers below this.
pub const MOST_TREES: u32 = 1 << 24;

const GROUP: u8 = 0x03;
const STATION: u8 = 0x02;

fn made(kind: u8, tree: u32, receiver: u16) -> Mac {
    let [_, a, b, c] = tree.to_be_bytes();
    let [d, e] = receiver.to_be_bytes();
    Mac([kind, a, b, c, d, e])
}

/// The group address of a tree.
#[must_use]
pub fn tree_address(tree: u32) -> Mac {
    made(GROUP, tree, 0)
}

/// The address of a tree's sender.
#[must_use]
pub fn sender_address(tree: u32) -> Mac {
    made(STATION, tree, 0)
}

/// The address of a tree's receiver; `number` is at least 1.
#[must_use]
pub fn receiver_address(tree: u32, number: u16) -> Mac {
    made(STATION, tree, number)
}

/// The tree whose group address, sender or receiver this may be; other stations' local addresses look alike.
#[must_use]
pub fn tree_of(Mac([kind, a, b, c, ..]): Mac) -> Option<u32> {
    matches!(kind, GROUP | STATION).then(|| u32::from_be_bytes([0, a, b, c]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_their_tree() {
        assert_eq!(tree_address(0x01_02_03).to_string(), "03:01:02:03:00:00");
        assert!(tree_address(7).is_multicast());
        assert_eq!(sender_address(0x01_02_03).to_string(), "02:01:02:03:00:00");
        assert_eq!(receiver_address(MOST_TREES - 1, 0x1234).to_string(), "02:ff:ff:ff:12:34");
        for address in [tree_address(70_000), sender_address(70_000), receiver_address(70_000, 9)] {
            assert_eq!(tree_of(address), Some(70_000));
        }
        assert_eq!(tree_of(Mac([0xff; 6])), None);
    }
}
