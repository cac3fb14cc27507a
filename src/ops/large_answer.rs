//! Answers that wait for memory before they are built.

use stoa_accounts::{Session, Sessions};
use stoa_base::Allowance;
use stoa_http::{Admission, Result, admission::Place};

/// Builds an answer with [`Admission::assemble`], and returns it only if the session has not ended:
/// the user may have been logged out while the answer waited for memory.
pub(crate) async fn assemble<T, F>(
    sessions: &Sessions,
    admission: &Admission,
    session: &Session,
    weight: u64,
    assemble: impl Fn(Allowance) -> F,
) -> Result<(T, Place)>
where
    F: Future<Output = Result<T>>,
{
    let answer = admission.assemble(&session.user_id, weight, assemble).await?;
    sessions.check_goes_on_everywhere(session).await?;
    Ok(answer)
}
