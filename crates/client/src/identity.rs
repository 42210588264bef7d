//! Calls of the `identity` service.

use hafen_base::Result;
use serde_json::json;

use crate::wire::{
    AccessToken, Invitation, InvitationAccept, InvitationAccepted, InvitationBegin, InvitationBegun,
    InvitationCreate, InvitationCreated, Membership, MembershipCreate, Organisation, OrganisationCreate,
    Person, ProjectOwner, ProjectOwnerPut, ServiceAccount, ServiceAccountCreate, Session, SignInPassword,
    SignInSecondFactor, SignInStep, StepUp, Team, TeamCreate, TokenCreate, TokenCreated, TokenRotate, Whoami,
};
use crate::{Client, Conditions};

fn plain() -> Conditions {
    Conditions::default()
}

impl Client {
    pub async fn whoami(&self) -> Result<Whoami> {
        self.get("/api/v1/whoami").await
    }

    pub async fn sign_in_password(&self, body: &SignInPassword) -> Result<SignInStep> {
        self.post("/api/v1/sign-in/password", body, &plain()).await
    }

    pub async fn sign_in_second_factor(&self, body: &SignInSecondFactor) -> Result<SignInStep> {
        self.post("/api/v1/sign-in/second-factor", body, &plain()).await
    }

    /// Proves a second factor again; holds for five minutes.
    pub async fn step_up(&self, body: &StepUp) -> Result<serde_json::Value> {
        self.post("/api/v1/step-up", body, &plain()).await
    }

    pub async fn session_list(&self) -> Result<Vec<Session>> {
        self.list_all("/api/v1/sessions").await
    }

    pub async fn session_delete(&self, session: &str) -> Result<()> {
        self.delete(&format!("/api/v1/sessions/{session}"), &plain()).await
    }

    pub async fn organisation_create(
        &self,
        body: &OrganisationCreate,
        with: &Conditions,
    ) -> Result<Organisation> {
        self.post("/api/v1/organisations", body, with).await
    }

    pub async fn organisation_list(&self) -> Result<Vec<Organisation>> {
        self.list_all("/api/v1/organisations").await
    }

    pub async fn team_create(&self, body: &TeamCreate, with: &Conditions) -> Result<Team> {
        self.post("/api/v1/teams", body, with).await
    }

    pub async fn team_list(&self) -> Result<Vec<Team>> {
        self.list_all("/api/v1/teams").await
    }

    pub async fn project_owner_get(&self, project: &str) -> Result<ProjectOwner> {
        self.get(&format!("/api/v1/project-owners/{project}")).await
    }

    pub async fn project_owner_put(&self, project: &str, body: &ProjectOwnerPut) -> Result<ProjectOwner> {
        self.put(&format!("/api/v1/project-owners/{project}"), body, &plain()).await
    }

    pub async fn person_list(&self) -> Result<Vec<Person>> {
        self.list_all("/api/v1/people").await
    }

    pub async fn service_account_create(
        &self,
        body: &ServiceAccountCreate,
        with: &Conditions,
    ) -> Result<ServiceAccount> {
        self.post("/api/v1/service-accounts", body, with).await
    }

    pub async fn service_account_list(&self) -> Result<Vec<ServiceAccount>> {
        self.list_all("/api/v1/service-accounts").await
    }

    pub async fn membership_create(&self, body: &MembershipCreate, with: &Conditions) -> Result<Membership> {
        self.post("/api/v1/memberships", body, with).await
    }

    pub async fn membership_list(&self) -> Result<Vec<Membership>> {
        self.list_all("/api/v1/memberships").await
    }

    pub async fn membership_delete(&self, membership: &str) -> Result<()> {
        self.delete(&format!("/api/v1/memberships/{membership}"), &plain()).await
    }

    pub async fn invitation_create(&self, body: &InvitationCreate) -> Result<InvitationCreated> {
        self.post("/api/v1/invitations", body, &plain()).await
    }

    pub async fn invitation_list(&self) -> Result<Vec<Invitation>> {
        self.list_all("/api/v1/invitations").await
    }

    pub async fn invitation_begin(&self, body: &InvitationBegin) -> Result<InvitationBegun> {
        self.post("/api/v1/invitations/begin", body, &plain()).await
    }

    pub async fn invitation_accept(&self, body: &InvitationAccept) -> Result<InvitationAccepted> {
        self.post("/api/v1/invitations/accept", body, &plain()).await
    }

    pub async fn token_create(&self, body: &TokenCreate) -> Result<TokenCreated> {
        self.post("/api/v1/tokens", body, &plain()).await
    }

    pub async fn token_list(&self) -> Result<Vec<AccessToken>> {
        self.list_all("/api/v1/tokens").await
    }

    pub async fn token_get(&self, token: &str) -> Result<AccessToken> {
        self.get(&format!("/api/v1/tokens/{token}")).await
    }

    pub async fn token_delete(&self, token: &str) -> Result<()> {
        self.delete(&format!("/api/v1/tokens/{token}"), &plain()).await
    }

    /// Replaces a token; done when the old one was seen to fail.
    pub async fn token_rotate(&self, token: &str, body: &TokenRotate) -> Result<TokenCreated> {
        self.post(&format!("/api/v1/tokens/{token}/rotate"), body, &plain()).await
    }

    /// Ends all of one's sessions but this one.
    pub async fn session_delete_others(&self) -> Result<()> {
        self.post("/api/v1/sessions/end-others", &json!({}), &plain()).await
    }
}
