//! Lists of records for callers that see some clients' only: a page of one client's list, or of several
//! merged into one.
//!
//! Never in here: what a record is, and who the caller is.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};

use conch_domain::{Caller, ClientId, Timestamp};
use conch_ports::{Page, Paging, Result};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};

use super::{CONCURRENCY, NoPage};

/// Records asked of Triton at a time, at most.
const CHUNK: u32 = 100;

/// A question to Triton for a page.
type Asked<T> = BoxFuture<'static, Result<Page<T>>>;

/// How far a list that is merged from several clients' reaches.
const DEPTH: u64 = 1000;

/// Where a record stands in a list: the greatest comes first, which is the newest; ties are by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Rank(Option<Timestamp>, Reverse<String>);

impl Rank {
    pub(super) fn new(created_at: Option<Timestamp>, id: String) -> Self {
        Self(created_at, Reverse(id))
    }
}

pub(super) fn cut<T>(items: impl Iterator<Item = T>, paging: Paging) -> Vec<T> {
    let skip = usize::try_from(paging.offset()).unwrap_or(usize::MAX);
    items.skip(skip).take(paging.page_size as usize).collect()
}

/// How a kind of record is listed for callers that see some clients only.
pub(super) struct Listing<P, O, A> {
    /// Where a record stands.
    pub(super) place: P,
    /// Whose it is.
    pub(super) owner: O,
    /// Asks Triton for a page, of one client if given.
    pub(super) ask: A,
}

impl<P, O, A> Listing<P, O, A> {
    /// The page, of `client` if one is named.
    pub(super) async fn page<T>(
        &self,
        caller: &Caller,
        client: Option<&ClientId>,
        paging: Paging,
    ) -> Result<Page<T>, NoPage>
    where
        P: Fn(&T) -> Rank,
        O: Fn(&T) -> Option<ClientId>,
        A: Fn(Option<ClientId>, Paging) -> Asked<T>,
    {
        let Some(theirs) = caller.clients().named() else {
            return Ok((self.ask)(client.cloned(), paging).await?);
        };
        let one = match client {
            Some(client) => Some(client),
            None if theirs.len() == 1 => theirs.first(),
            None => None,
        };
        if one.is_some_and(|one| !caller.clients().see(Some(one))) || theirs.is_empty() {
            return Ok(Page {
                total: 0,
                items: Vec::new(),
            });
        }
        if let Some(one) = one {
            return Ok(self.of_one(one.clone(), paging).await?);
        }
        self.merged(theirs.to_vec(), paging).await
    }

    /// A page of one client's list. A record that isn't that client's is left out: Triton may be
    /// another program, which doesn't know the filter.
    async fn of_one<T>(&self, client: ClientId, paging: Paging) -> Result<Page<T>>
    where
        O: Fn(&T) -> Option<ClientId>,
        A: Fn(Option<ClientId>, Paging) -> Asked<T>,
    {
        let mut page = (self.ask)(Some(client.clone()), paging).await?;
        page.items
            .retain(|item| (self.owner)(item).as_ref() == Some(&client));
        Ok(page)
    }

    /// A page of several clients' lists as one. Each is read as far as the page needs and no further.
    async fn merged<T>(&self, clients: Vec<ClientId>, paging: Paging) -> Result<Page<T>, NoPage>
    where
        P: Fn(&T) -> Rank,
        O: Fn(&T) -> Option<ClientId>,
        A: Fn(Option<ClientId>, Paging) -> Asked<T>,
    {
        let wanted = paging.offset() + u64::from(paging.page_size);
        if wanted > DEPTH {
            return Err(NoPage::TooDeep);
        }
        let chunk = CHUNK.min(wanted as u32);
        let at = |page| Paging {
            page,
            page_size: chunk,
        };
        let pages: Vec<Page<T>> = futures::stream::iter(clients.clone())
            .map(|client| self.of_one(client, at(1)))
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        let totals: Vec<u64> = pages.iter().map(|page| page.total).collect();
        let mut lists: Vec<VecDeque<T>> = pages.into_iter().map(|page| page.items.into()).collect();
        let mut next_page = vec![2; lists.len()];
        // Of each list the record that comes next in it.
        let mut heads: BinaryHeap<(Rank, usize)> = lists
            .iter()
            .enumerate()
            .filter_map(|(i, list)| Some(((self.place)(list.front()?), i)))
            .collect();
        let mut seen = HashSet::new();
        let mut items = Vec::new();
        while (seen.len() as u64) < wanted
            && let Some((place, i)) = heads.pop()
        {
            // A record that came in meanwhile has pushed another one onto the next page as well.
            if let Some(item) = lists[i].pop_front()
                && seen.insert(place)
                && seen.len() as u64 > paging.offset()
            {
                items.push(item);
            }
            let (next, enough) = (at(next_page[i]), seen.len() as u64 == wanted);
            if lists[i].is_empty() && !enough && next.offset() < totals[i] {
                next_page[i] += 1;
                lists[i] = self.of_one(clients[i].clone(), next).await?.items.into();
            }
            heads.extend(lists[i].front().map(|item| ((self.place)(item), i)));
        }
        Ok(Page {
            total: totals.into_iter().sum(),
            items,
        })
    }
}
