//! What a step does, and what that tells of it. Pure.

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    ProjectPut,
    ProjectDelete,
    NetworkCreate,
    NetworkUpdate,
    /// Until it is ready.
    NetworkWait,
    NetworkDelete,
    /// Create, or a new source.
    ImageMake,
    ImageWait,
    ImageDelete,
    MachineCreate,
    /// Metadata, health check, cordon; or a start.
    MachineUpdate,
    MachineReplace,
    /// Until it is started and healthy.
    MachineWait,
    MachineDelete,
    /// A machine more, for the time of a roll.
    Surge,
    SurgeEnd,
    PublicationPut,
    PublicationReplace,
    PublicationWait,
    PublicationDelete,
    AppPut,
    /// Until it is as wanted.
    AppWait,
    AppDelete,
    BackendPut,
    BackendDelete,
    RoutePut,
    RouteDelete,
    /// Does nothing: joins the ends of many steps, so that others wait for one.
    Gate,
}

impl Work {
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::ProjectPut | Self::ProjectDelete => "project",
            Self::NetworkCreate | Self::NetworkUpdate | Self::NetworkWait | Self::NetworkDelete => "network",
            Self::ImageMake | Self::ImageWait | Self::ImageDelete => "image",
            Self::PublicationPut
            | Self::PublicationReplace
            | Self::PublicationWait
            | Self::PublicationDelete => "publication",
            Self::AppPut | Self::AppWait | Self::AppDelete => "app",
            Self::BackendPut | Self::BackendDelete => "backend",
            Self::RoutePut | Self::RouteDelete => "route",
            Self::MachineCreate
            | Self::MachineUpdate
            | Self::MachineReplace
            | Self::MachineWait
            | Self::MachineDelete
            | Self::Surge
            | Self::SurgeEnd => "machine",
            Self::Gate => "gate",
        }
    }

    pub const fn is_machine(self) -> bool {
        matches!(
            self,
            Self::MachineCreate
                | Self::MachineUpdate
                | Self::MachineReplace
                | Self::MachineWait
                | Self::MachineDelete
                | Self::Surge
                | Self::SurgeEnd
        )
    }

    /// Frees names, addresses and quota once it is done.
    pub const fn frees(self) -> bool {
        matches!(
            self,
            Self::MachineDelete
                | Self::SurgeEnd
                | Self::NetworkDelete
                | Self::ImageDelete
                | Self::PublicationDelete
                | Self::AppDelete
                | Self::BackendDelete
                | Self::RouteDelete
        )
    }
}
