/// What the app asks the services for, through the client.
import { createApi, type BaseQueryFn } from '@reduxjs/toolkit/query/react';
import type { RequestOptions } from '../client/index.ts';
import { client } from './client.ts';
import { nextCursor } from './paging.ts';
import { toProblem, type Problem } from './problem.ts';

export interface User {
  readonly id: string;
  readonly username: string;
  readonly email: string;
  readonly is_active: boolean;
  readonly is_staff: boolean;
  readonly is_superuser: boolean;
  readonly roles: readonly string[];
  readonly created: string;
  readonly updated: string;
}

export interface Device {
  readonly id: string;
  readonly current: boolean;
  readonly created: string;
  readonly last_used: string;
  readonly expires: string;
  readonly user_agent: string | null;
  readonly ip: string | null;
}

export interface UserQuery {
  readonly search: string;
  readonly ordering: string;
  readonly cursor: string | null;
}

export interface UserPage {
  readonly users: readonly User[];
  /** Of the page after this one, if there is one. */
  readonly next: string | null;
}

export const PAGE_SIZE = 20;

type Request = { path: string } & Omit<RequestOptions, 'signal'>;

const baseQuery: BaseQueryFn<Request, unknown, Problem, object, { next: string | null }> = async (
  { path, ...options },
  { signal },
) => {
  try {
    const { body, headers } = await client.json(path, { ...options, signal });
    return { data: body, meta: { next: nextCursor(headers.get('link')) } };
  } catch (error) {
    return { error: toProblem(error) };
  }
};

const post = (path: string, json: unknown): Request => ({ path, method: 'POST', json });
const patch = (path: string, json: unknown): Request => ({ path, method: 'PATCH', json });
const remove = (path: string): Request => ({ path, method: 'DELETE' });

export const api = createApi({
  baseQuery,
  tagTypes: ['Me', 'Devices', 'Users'],
  endpoints: (build) => ({
    home: build.query<{ message: string }, void>({ query: () => ({ path: '/home' }) }),

    me: build.query<User, void>({ query: () => ({ path: '/api/auth/me' }), providesTags: ['Me'] }),
    changeMe: build.mutation<User, { username?: string; email?: string; current_password?: string }>({
      query: (changes) => patch('/api/auth/me', changes),
      async onQueryStarted(_, { dispatch, queryFulfilled }) {
        const changed = await queryFulfilled.catch(() => null);
        if (changed !== null) dispatch(api.util.updateQueryData('me', undefined, () => changed.data));
      },
    }),
    changePassword: build.mutation<null, { current_password: string; new_password: string }>({
      query: (passwords) => post('/api/auth/password', passwords),
      invalidatesTags: ['Devices'],
    }),

    devices: build.query<Device[], void>({
      query: () => ({ path: '/api/auth/sessions' }),
      providesTags: ['Devices'],
    }),
    endDevice: build.mutation<null, string>({
      query: (id) => remove(`/api/auth/sessions/${encodeURIComponent(id)}`),
      invalidatesTags: ['Devices'],
    }),
    endOtherDevices: build.mutation<null, void>({
      query: () => remove('/api/auth/sessions'),
      invalidatesTags: ['Devices'],
    }),

    users: build.query<UserPage, UserQuery>({
      query: ({ search, ordering, cursor }) => {
        const query = new URLSearchParams({ ordering, limit: String(PAGE_SIZE) });
        if (search !== '') query.set('search', search);
        if (cursor !== null) query.set('cursor', cursor);
        return { path: `/api/user?${query}` };
      },
      transformResponse: (users: User[], meta) => ({ users, next: meta?.next ?? null }),
      providesTags: ['Users'],
    }),
    changeUser: build.mutation<
      User,
      { id: string } & Partial<Pick<User, 'is_active' | 'is_staff' | 'is_superuser' | 'roles'>>
    >({
      query: ({ id, ...changes }) => patch(`/api/admin/users/${encodeURIComponent(id)}`, changes),
      invalidatesTags: ['Users', 'Me'],
    }),
    removeUser: build.mutation<null, string>({
      query: (id) => remove(`/api/admin/users/${encodeURIComponent(id)}`),
      invalidatesTags: ['Users'],
    }),
  }),
});

export const {
  useHomeQuery,
  useMeQuery,
  useChangeMeMutation,
  useChangePasswordMutation,
  useDevicesQuery,
  useEndDeviceMutation,
  useEndOtherDevicesMutation,
  useUsersQuery,
  useChangeUserMutation,
  useRemoveUserMutation,
} = api;
