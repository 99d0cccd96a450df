package directory

// graphPermission is one row of Microsoft's published permissions reference:
// the id of the delegated scope and of the application role, either of which
// may be absent, and whether people may consent to the scope themselves.
type graphPermission struct {
	value        string
	scope, role  string
	userConsents bool
	about        string
}

var graphPermissions = []graphPermission{
	{"openid", "37f7f235-527c-4136-accd-4a02d197296e", "", true, "Sign users in"},
	{"profile", "14dad69e-099b-42c9-810b-d002981feec1", "", true, "View users' basic profile"},
	{"email", "64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0", "", true, "View users' email address"},
	{"offline_access", "7427e0e9-2fba-42fe-b0c0-848c9e6a8182", "", true, "Maintain access to data you have given it access to"},
	{"User.Read", "e1fe6dd8-ba31-4d61-89e7-88639da4683d", "", true, "Sign in and read user profile"},
	{"User.ReadBasic.All", "b340eb25-3456-403f-be2f-af7a0d370277", "97235f07-e226-4f63-ace3-39588e11d3a1", true, "Read all users' basic profiles"},
	{"User.Read.All", "a154be20-db9c-4678-8ab7-66f6cc099a59", "df021288-bdef-4463-88db-98f22de89214", false, "Read all users' full profiles"},
	{"User.ReadWrite.All", "204e0828-b5ca-4ad8-b9f3-f32a958e7cc4", "741f803b-c850-494e-b5df-cde7c675a1ca", false, "Read and write all users' full profiles"},
	{"Group.Read.All", "5f8c59db-677d-491f-a6b8-5f174b11ec1d", "5b567255-7703-4780-807c-7be8301ae99b", false, "Read all groups"},
	{"Group.ReadWrite.All", "4e46008b-f24c-477d-8fff-7bb4ec7aafe0", "62a82d76-70ea-41e2-9197-370581804d09", false, "Read and write all groups"},
	{"GroupMember.Read.All", "bc024368-1153-4739-b217-4326f2e966d0", "98830695-27a2-44f7-8c18-0c3ebc9698f6", false, "Read group memberships"},
	{"GroupMember.ReadWrite.All", "f81125ac-d3b7-4573-a3b2-7099cc39df9e", "dbaae8cf-10b5-4b86-a4a1-f871c94c6695", false, "Read and write group memberships"},
	{"Directory.Read.All", "06da0dbc-49e2-44d2-8312-53f166ab848a", "7ab1d382-f21e-4acd-a863-ba3e13f7da61", false, "Read directory data"},
	{"Directory.ReadWrite.All", "c5366453-9fb0-48a5-a156-24f0c49a4b84", "19dbc75e-c2e2-444c-a770-ec69d8559fc7", false, "Read and write directory data"},
	{"Directory.AccessAsUser.All", "0e263e50-5827-48a4-b97c-d940288653c7", "", false, "Access the directory as the signed-in user"},
	{"Application.Read.All", "c79f8feb-a9db-4090-85f9-90d820caa0eb", "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30", false, "Read all applications"},
	{"Application.ReadWrite.All", "bdfbf15f-ee85-4955-8675-146e8e5296b5", "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9", false, "Read and write all applications"},
	{"Application.ReadWrite.OwnedBy", "", "18a4783c-866b-4cc7-a460-3d5e5662c884", false, "Manage applications that this application creates or owns"},
	{"AppRoleAssignment.ReadWrite.All", "84bccea3-f856-4a8a-967b-dbe0a3d53a64", "06b708a9-e830-4db3-a914-8e69da51d44f", false, "Manage app permission grants and app role assignments"},
	{"DelegatedPermissionGrant.ReadWrite.All", "41ce6ca6-6826-4807-84f1-1c82854f7ee5", "8e8e4742-1d95-4f68-9d56-6ee75648c72a", false, "Manage all delegated permission grants"},
	{"RoleManagement.Read.Directory", "741c54c3-0c1e-44a1-818b-3f97ab4e8c83", "483bed4a-2ad3-4361-a73b-c83ccdbdc53c", false, "Read directory role assignments"},
	{"RoleManagement.ReadWrite.Directory", "d01b97e9-cbc0-49fe-810a-750afd5527a3", "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8", false, "Read and write directory role assignments"},
	{"PrivilegedAccess.ReadWrite.AzureADGroup", "32531c59-1f32-461f-b8df-6f8a3b89f73b", "2f6817f8-7b12-4f0f-bc18-eeaf60705a9e", false, "Read and write privileged access to groups"},
	{"Policy.Read.All", "572fea84-0151-49b2-9301-11cb16974376", "246dd0d5-5bd0-4def-940b-0421030a5b68", false, "Read your organization's policies"},
	{"Policy.ReadWrite.ConditionalAccess", "ad902697-1014-4ef5-81ef-2b4301988e8c", "01c0a623-fc9b-48e9-b794-0756f8e8f067", false, "Read and write your organization's conditional access policies"},
	{"AuditLog.Read.All", "e4c9e354-4dc5-45b8-9e7c-e1393b0b1a20", "b0afded3-3588-46d8-8b3d-9842eff778da", false, "Read audit log data"},
	{"Device.Read.All", "951183d1-1a61-466f-a6d1-1fde911bfd95", "7438b122-aefc-4978-80ed-43db9fcc7715", false, "Read all devices"},
	{"Device.ReadWrite.All", "", "1138cb37-bd11-4084-a2b7-9f71582aeddb", false, "Read and write devices"},
	{"UserAuthenticationMethod.ReadWrite.All", "b7887744-6746-4312-813d-72daeaee7e2d", "50483e42-d915-4231-9639-7fdb7fd190e5", false, "Read and write all users' authentication methods"},
	{"Organization.Read.All", "4908d5b9-3fb2-4b1e-9336-1888b7937185", "498476ce-e0fe-48b0-b801-37ba7e2685c6", false, "Read organization information"},
	{"Domain.Read.All", "2f9ee017-59c1-4f1d-9472-bd5529a7b311", "dbb9058a-0e50-45d7-ae91-66909b5d4664", false, "Read domains"},
}

var graphScopes, graphRoles = func() (scopes []Scope, roles []AppRole) {
	for _, p := range graphPermissions {
		if p.scope != "" {
			kind := "Admin"
			if p.userConsents {
				kind = "User"
			}
			scopes = append(scopes, Scope{ID: p.scope, Value: p.value, Type: kind, Enabled: true, AdminConsentName: p.about, AdminConsentAbout: p.about, UserConsentName: p.about, UserConsentAbout: p.about})
		}
		if p.role != "" {
			roles = append(roles, AppRole{ID: p.role, Value: p.value, DisplayName: p.about, Description: p.about, MemberTypes: []string{"Application"}, Enabled: true})
		}
	}
	return scopes, roles
}()
